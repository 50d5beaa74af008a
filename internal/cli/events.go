package cli

// weir events: the event log, and with -f the event stream.

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

func eventsCommand(flags *clientFlags) *cobra.Command {
	follow := false
	cmd := &cobra.Command{
		Use: "events [-f]", Short: "Show events", Args: cobra.NoArgs,
		Long: "Shows the last 1,000 events, and with -f new ones as they happen. With --json, prints one object per line.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client()
			if err != nil {
				return err
			}
			show := showEvent
			if flags.json {
				show = func(w io.Writer, _ status.Event, text string) error {
					_, err := fmt.Fprintf(w, "%s\n", plainJSON([]byte(text)))
					return err
				}
			}
			for {
				err := c.events(cmd.Context(), follow, func(ev status.Event, text string) error { return show(cmd.OutOrStdout(), ev, text) })
				if follow && errors.Is(err, errStreamCut) {
					err = nil
				}
				if err != nil || !follow {
					return err
				}
				select { // weir has stopped or was upgraded
				case <-time.After(retryDelay):
				case <-cmd.Context().Done():
					return nil
				}
			}
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "continue with new events")
	return cmd
}

// retryDelay is the delay before a client reconnects after the end of an event stream.
const retryDelay = 200 * time.Millisecond

// events reads the events that the client has not received, and with follow new ones, until the stream ends.
func (c *client) events(ctx context.Context, follow bool, do func(status.Event, string) error) error {
	stream, err := c.open(ctx, http.MethodGet, fmt.Sprintf("/v1/events?follow=%t", follow), nil)
	if err != nil {
		return err
	}
	defer stream.Close()
	return eachEvent(stream, func(ev status.Event, text string) error {
		c.seen = ev.ID
		return do(ev, text)
	})
}

// eachEvent reads a stream of server-sent events.
func eachEvent(stream io.Reader, do func(status.Event, string) error) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var ev status.Event
		if err := json.Unmarshal([]byte(text), &ev); err != nil {
			return fmt.Errorf("invalid event: %w", err)
		}
		makePlain(reflect.ValueOf(&ev))
		if err := do(ev, text); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("invalid event: longer than %d bytes", maxEvent)
	default:
		return ExitError{ExitUnreachable, fmt.Errorf("%w: %w", errStreamCut, err)}
	}
}

// maxEvent limits a line of the stream.
const maxEvent = 1 << 20

// errStreamCut means that the stream ended before its end: weir has stopped or was upgraded, or the network has failed.
var errStreamCut = errors.New("event stream interrupted")

// showEvent prints an event in one line and its reason in others.
func showEvent(w io.Writer, ev status.Event, _ string) error {
	where := cell{text: plain(ev.Cluster)}
	switch {
	case ev.Server != "":
		where = serverName{ev.Cluster, ev.Server}.cell()
	case ev.Listener != "":
		where.text = "listener " + ev.Listener
	case ev.Address != "":
		where.text = ev.Address
	}
	change := ""
	switch {
	case ev.Address != "":
		change = "on " + ev.To
	case ev.From != "" || ev.To != "":
		change = ev.From + " → " + ev.To
	}
	if ev.Epoch > 0 {
		change += fmt.Sprintf(", epoch %d", ev.Epoch)
	}
	if ev.GTID != "" {
		change += ", GTID " + ev.GTID
	}
	if ev.DetectedMS != nil && *ev.DetectedMS > 0 {
		change += fmt.Sprintf(", detected in %.0f ms", *ev.DetectedMS)
	}
	if ev.Closed != nil && ev.Held != nil && ev.Released != nil {
		change += fmt.Sprintf(", %d closed, %d held, %d released", *ev.Closed, *ev.Held, *ev.Released)
	}
	if ev.FirstSessionMS != nil {
		change += fmt.Sprintf(", first session after %.0f ms", *ev.FirstSessionMS)
	}
	if ev.Count > 0 {
		change = fmt.Sprintf("%d times", ev.Count)
	}
	for _, line := range eventLines(fmt.Sprintf("%s  %-13s  ", moment(ev.Time), ev.Event), where, strings.TrimPrefix(change, ", "), widthOf(w)) {
		if _, err := fmt.Fprintln(w, paletteFor(w).event(ev.Event, line)); err != nil {
			return err
		}
	}
	for i, reason := range strings.Split(ev.Reason, "\n") {
		if i == 0 && ev.Layer != "" {
			reason = strings.TrimSuffix(ev.Layer+": "+reason, ": ")
		}
		if i == 0 && ev.By != "" {
			reason += " (" + ev.By + ")"
		}
		if reason == "" {
			continue
		}
		if _, err := fmt.Fprintln(w, cut(reasonIndent+reason, widthOf(w))); err != nil {
			return err
		}
	}
	return nil
}

// eventLines returns an event without its reason. If it is wider than the width, the name of the cluster is cut; if that is not
// enough, the change follows in lines of its own.
func eventLines(before string, where cell, change string, width int) []string {
	whole := func(name string) string { return strings.TrimRight(before+name+"  "+change, " ") }
	if line := whole(where.within(width - utf8.RuneCountInString(whole("")))); utf8.RuneCountInString(line) <= width {
		return []string{line}
	}
	lines := []string{strings.TrimRight(before+where.within(width-utf8.RuneCountInString(before)), " ")}
	if change == "" {
		return lines
	}
	return append(lines, wrap(reasonIndent+change, len(reasonIndent), width, textLines)...)
}

// reasonIndent precedes what follows an event in lines of its own.
const reasonIndent = "          "
