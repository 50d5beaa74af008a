package admin

// The stream of events, as server-sent events (WHATWG HTML, section 9.2).

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
	// maxStreams bounds the clients that wait for events at once; each holds one connection and no memory.
	maxStreams = 32
	// keepaliveInterval is how long a stream is silent at most: a client that is gone is found out by writing to it.
	keepaliveInterval = 15 * time.Second
)

// events sends what is remembered, and then what happens. A client that comes back says what it has seen
// (Last-Event-ID); with follow=false it is sent what is remembered alone.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	if !checkParameters(w, r, "follow") {
		return
	}
	after, err := parseUint(r.Header.Get("Last-Event-ID"), 0)
	if err != nil {
		writeError(w, http.StatusBadRequest, "Last-Event-ID", "want the number of an event")
		return
	}
	follow, err := parseBool(r.URL.Query().Get("follow"), true)
	if err != nil {
		writeError(w, http.StatusBadRequest, "follow", "want true or false")
		return
	}
	if follow {
		select {
		case s.streams <- struct{}{}:
			defer func() { <-s.streams }()
		default:
			writeError(w, http.StatusServiceUnavailable, "", fmt.Sprintf("%d clients follow the events already", maxStreams))
			return
		}
	}
	out := http.NewResponseController(w)
	out.SetReadDeadline(time.Time{}) // nothing more is to be read, for as long as it takes
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
		out.SetWriteDeadline(time.Now().Add(s.streamWriteTimeout)) // whoever does not read is let go
		if err != nil {                                  // nothing has happened
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

// nextEvents waits for events, but not for ever.
func (s *Server) nextEvents(ctx context.Context, after uint64, wait bool) ([]status.Event, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, keepaliveInterval)
	defer cancel()
	return s.weir.Events(ctx, after, wait)
}

func writeEvents(w io.Writer, events []status.Event, missed uint64) error {
	if missed > 0 {
		if _, err := fmt.Fprintf(w, ": %d events are not remembered\n\n", missed); err != nil {
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
