package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
)

// followReloads returns a channel of the results of reloads, from the event stream of weir's API.
func followReloads(ctx context.Context, socket string) <-chan string {
	c := make(chan string)
	go func() {
		client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://weir/v1/events", nil)
		if err != nil {
			return
		}
		res, err := client.Do(req)
		if err != nil {
			return // weir has exited
		}
		defer res.Body.Close()
		for s := bufio.NewScanner(res.Body); s.Scan(); {
			data, _ := strings.CutPrefix(s.Text(), "data: ")
			var event struct{ Event, Reason string }
			if json.Unmarshal([]byte(data), &event) != nil {
				continue
			}
			text := ""
			switch event.Event {
			case "reload":
				text = "configuration reloaded"
			case "reload_failed":
				text = "reload refused, the old configuration stays: " + strings.ReplaceAll(event.Reason, "\n", "; ")
			default:
				continue
			}
			select {
			case c <- text:
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}
