package weirtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// Webhook receives events that are posted to it, and can reject the first ones.
type Webhook struct {
	URL string

	mu      sync.Mutex
	refuse  int
	Records []Record
}

func StartWebhook(t *testing.T, refuse int) *Webhook {
	p := &Webhook{refuse: refuse}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var ev Record
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.refuse > 0 || json.Unmarshal(body, &ev) != nil {
			p.refuse--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		p.Records = append(p.Records, ev)
	}))
	t.Cleanup(s.Close)
	p.URL = s.URL
	return p
}

// Record returns an event.
func (p *Webhook) Record(i int) Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Records[i]
}

// Events returns the events so far, as "event server from→to".
func (p *Webhook) Events() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := []string{}
	for _, r := range p.Records {
		out = append(out, FormatEvent(r))
	}
	return out
}

func FormatEvent(r Record) string {
	text := r.Text("event")
	if r.Text("server") != "" {
		text += " " + r.Text("server")
	}
	if r.Text("from") != "" {
		text += " " + r.Text("from") + "→" + r.Text("to")
	}
	return text
}

// WaitDelivered waits until each hook has delivered the wanted number of events, and requires that none was dropped.
func (a API) WaitDelivered(want ...int) {
	a.T.Helper()
	nettest.Wait(a.T, 15*time.Second, fmt.Sprintf("%d events to be delivered", want), func() bool {
		var got []int
		for _, h := range a.Get("hooks").([]any) {
			h := h.(map[string]any)
			require.Zero(a.T, h["dropped"], h["name"])
			got = append(got, int(h["delivered"].(float64)))
		}
		return slices.Equal(want, got)
	})
}
