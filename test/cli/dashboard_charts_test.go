package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// The page draws the last hour, asks before it cuts, shows addresses and the level of a listener, and hides what a filter does not match.
func TestDashboardCharts(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	at, a, key := nettest.Reserve(t), weirtest.NewAPI(t), tokenFile(t, secretToken)
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Cluster: "on_down = \"close\"",
		Levels: [][]string{{host.Addr() + " name=A"}, {host.Addr() + " name=B"}},
		More: weirtest.ListenerTables("other", nettest.Reserve(t), host.Addr()+" name=O") +
			fmt.Sprintf("[[listener]]\nname = \"own\"\naddress = %q\ncluster = \"c\"\nlevels = [2]\n[[vip]]\naddress = \"192.0.2.77/32\"\ninterface = \"nodummy0\"\nclusters = [\"c\"]\n", nettest.Reserve(t)),
	}
	weirtest.Start(t, withAdmin(a.AddTo(l.String(), at), "token_file = %q", key))
	chromium := browser(t)
	c := nettest.Dial(t, l.Listen)
	require.NoError(t, weirtest.PingPong(c))
	p := newTab(t, chromium, 1280, 900, "http://"+at+"/")
	p.login(secretToken)

	p.says("#vips", "192.0.2.77/32")
	p.says("#vips", "nodummy0")
	p.says("#listeners", "level 2")
	require.NotContains(t, p.text("#listeners"), "level 1", "the level of the cluster is not repeated")
	p.says("#clusters", "A")
	p.do(chromedp.SendKeys(css("#filter"), "other"))
	p.until("document.querySelectorAll('#clusters > section').length === 1")
	p.says("#clusters", "O")
	p.do(chromedp.SendKeys(css("#filter"), "!"))
	p.says("#no-match", "No cluster or server")
	p.eval("document.getElementById('filter').value = ''; document.getElementById('filter').dispatchEvent(new Event('input'))")

	// A point comes every ten seconds, of a server every twenty.
	p.until("document.querySelectorAll('#node-charts canvas').length === 5")
	p.says("#node-charts", "peak 1")
	p.eval("[...document.querySelectorAll('#cluster-c button')].find(b => b.textContent === 'charts').click()")
	p.until("document.querySelectorAll('#cluster-c canvas').length === 5")
	require.Equal(t, true, p.eval("[...document.querySelectorAll('.chart canvas')].every(c => c.width > 100)"))
	p.open("A")
	require.EqualValues(t, 1, p.eval("document.querySelectorAll('#server-charts').length"))

	p.do(chromedp.SendKeys(css("#reason"), "new disk"), chromedp.Click(css("[data-state=maint]")))
	p.says("[data-state=maint]", "Cuts 1 session")
	require.NoError(t, weirtest.PingPong(c), "one click cuts nothing")
	p.do(chromedp.Click(css("[data-state=maint]")))
	_, end := nettest.ReadToEnd(c, 20*time.Second)
	require.Equal(t, nettest.Reset, end)
	p.says("#layers", "new disk")
	p.until("document.getElementById('reason').value === ''")
	p.until("document.querySelector('[data-state=maint]').textContent === 'Maint'")
	p.do(chromedp.Click(css("[data-state=ready]")))
	p.says("#server-head", "up since")
	require.NotContains(t, p.text("#layers"), "new disk")
	p.until("document.querySelectorAll('#server-charts canvas').length === 5")

	t.Run("a fleet", func(t *testing.T) { fleetOnDashboard(t, chromium, "http://"+at) })

	// All targets are large enough for a finger on a phone.
	p.do(chromedp.EmulateViewport(360, 740))
	small := "[...document.querySelectorAll('button, input, summary')].filter(e => e.offsetParent && (e.offsetHeight < 44 || e.offsetWidth < 44)).map(e => e.outerHTML).join()"
	require.Equal(t, "", p.eval(small))
	p.do(chromedp.Click(css("#server .close button")))
	require.Equal(t, "", p.eval(small))
	require.EqualValues(t, 360, p.eval("document.documentElement.scrollWidth"), "nothing sticks out")
}

// The nodes of a fleet are on the page of each, as text, with links to their pages. The store is that of a test of its own; here, a proxy adds a fleet.
func fleetOnDashboard(t *testing.T, chromium context.Context, weir string) {
	target, err := url.Parse(weir)
	require.NoError(t, err)
	const link = `{"node": "n1", "prefix": "/edge", "share": [], "connected": true, "since": "2026-01-01T00:00:00Z", "nodes": 2, "pending": 1, "ignored": 0`
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	proxy.ModifyResponse = func(res *http.Response) error {
		if res.Request.URL.Path != "/v1/status" || res.StatusCode != http.StatusOK {
			return nil
		}
		var doc map[string]any
		if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
			return err
		}
		doc["fleet"] = json.RawMessage(link + "}")
		text, err := json.Marshal(doc)
		res.Body = io.NopCloser(strings.NewReader(string(text)))
		res.Header.Del("Content-Length")
		res.ContentLength = -1
		return err
	}
	node := func(name, api string, self bool) string {
		return fmt.Sprintf(`{"name": %q, "self": %t, "state": "drain", "version": "1.0", "config": "x", "uptime_seconds": 5, "at": "2026-01-01T00:00:00Z", "sessions": 7, "api": [%q], "problems": ["c: down"], "problem_count": 1}`, name, self, api)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/fleet" {
			proxy.ServeHTTP(w, r)
			return
		}
		fmt.Fprintf(w, `%s, "members": [%s, %s, %s, %s], "overrides": [], "problems": [], "disagreements": [{"cluster": "c", "server": "A", "states": {"n1": "up", "n2": "down"}}]}`, link,
			node("n1", "10.0.0.1:9280", true), node("n2", "10.0.0.2:9280", false), node("n3", "127.0.0.1:9280", false), node("<b>n4</b>", "x@evil.example:1/", false))
	}))
	t.Cleanup(server.Close)
	p := newTab(t, chromium, 1280, 900, server.URL)
	p.login(secretToken)
	p.says("#fleet-head", "Fleet /edge")
	p.says("#fleet-facts", "28 sessions in all")
	p.says("#fleet-nodes", "this node · drained")
	p.says("#fleet-nodes", "<b>n4</b>")
	p.says("#fleet-disagreements", "c/A: up on n1, down on n2")
	require.Equal(t, "http://10.0.0.2:9280/", p.eval("[...document.querySelectorAll('#fleet-nodes a')].map(a => a.href).join()"), "not this node, not loopback, not what is no address")
}
