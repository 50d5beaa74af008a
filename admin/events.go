package admin

// The event stream, as server-sent events (WHATWG HTML, section 9.2).

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"weir/internal/status"
)

const (
	// maxStreams limits concurrent streams, maxReaderStreams those of clients that may only read.
	maxStreams       = 32
	maxReaderStreams = maxStreams * 3 / 4
	// keepaliveInterval is the longest time without a write: only a write detects a client that has gone.
	keepaliveInterval = 15 * time.Second
)

// events sends the events in the log, and then new ones unless follow=false. Last-Event-ID skips events that the client has seen.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	if !checkParameters(w, r, "follow") {
		return
	}
	after, err := parseUint(r.Header.Get("Last-Event-ID"), 0)
	if err != nil {
		writeError(w, http.StatusBadRequest, "Last-Event-ID", "want an event id")
		return
	}
	follow, err := parseBool(r.URL.Query().Get("follow"), true)
	if err != nil {
		writeError(w, http.StatusBadRequest, "follow", "want true or false")
		return
	}
	if follow {
		limit, conn := int64(maxStreams), connOf(r)
		if conn.reader.Load() {
			limit = maxReaderStreams
		}
		conn.streams.Store(true)
		defer conn.streams.Store(false)
		defer s.streams.Add(-1)
		if s.streams.Add(1) > limit {
			writeError(w, http.StatusServiceUnavailable, "", fmt.Sprintf("%d clients follow the event stream already", limit))
			return
		}
	}
	out := http.NewResponseController(w)
	out.SetReadDeadline(time.Time{}) // the stream has no time limit
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	wait := false
	for {
		events, missed, err := s.nextEvents(r.Context(), after, wait)
		if r.Context().Err() != nil {
			return
		}
		out.SetWriteDeadline(time.Now().Add(s.streamWriteTimeout)) // a client that does not read is disconnected
		if err != nil {                                            // no new event
			_, err = io.WriteString(w, ":\n\n")
		} else {
			err = writeEvents(w, events, missed)
		}
		s.missed.Add(missed)
		if err != nil || out.Flush() != nil || !follow {
			return
		}
		if len(events) > 0 {
			after = events[len(events)-1].ID
		}
		wait = true
	}
}

// nextEvents waits up to keepaliveInterval for events.
func (s *Server) nextEvents(ctx context.Context, after uint64, wait bool) ([]status.Event, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, keepaliveInterval)
	defer cancel()
	return s.weir.Events(ctx, after, wait)
}

func writeEvents(w io.Writer, events []status.Event, missed uint64) error {
	if missed > 0 {
		if _, err := fmt.Fprintf(w, ": %d events missed\n\n", missed); err != nil {
			return err
		}
	}
	for _, ev := range events {
		text, err := json.Marshal(ev)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", ev.ID, ev.Event, text); err != nil {
			return err
		}
	}
	return nil
}

func parseUint(text string, otherwise uint64) (uint64, error) {
	if text == "" {
		return otherwise, nil
	}
	return strconv.ParseUint(text, 10, 63)
}

func parseBool(text string, otherwise bool) (bool, error) {
	if text == "" {
		return otherwise, nil
	}
	return strconv.ParseBool(text)
}
