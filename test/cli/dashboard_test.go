// The dashboard, in a browser.

package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

func TestDashboard(t *testing.T) {
	t.Parallel()
	chromium := browser(t)
	hostile := `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`
	host, liar := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.SendText(hostile))
	at := nettest.Reserve(t)
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Cluster: "protected = false",
		Levels: weirtest.OneLevel(host.Addr()+" name=A", host.Addr()+" name=B"),
		More: weirtest.ListenerTables("x", nettest.Reserve(t), liar.Addr()+" name=liar", host.Addr()+" name=X") +
			"[[cluster.x.check]]\ntype = \"tcp\"\nexpect = \"hello\"\ninterval = \"200ms\"\ntimeout = \"200ms\"\nfall = 1\n",
	}
	a := weirtest.NewAPI(t)
	key := tokenFile(t, secretToken)
	w := weirtest.Start(t, withAdmin(a.AddTo(l.String(), at), "token_file = %q", key))
	url := "http://" + at + "/"

	t.Run("shows and changes", func(t *testing.T) {
		p := newTab(t, chromium, 1280, 800, url)
		p.login(secretToken)
		p.says("#problems", "x: no healthy server")
		c := nettest.Dial(t, l.Listen)
		require.NoError(t, weirtest.PingPong(c))
		p.says("#listeners", "l")
		p.until("document.getElementById('sessions').textContent === '1'")
		served := "A"
		if a.Get("clusters", 0, "levels", 0, "servers", 1, "sessions") == 1.0 {
			served = "B"
		}
		p.open(served)
		p.says("#server-sessions", c.LocalAddr().String())
		p.do(chromedp.SendKeys(css("#reason"), "new kernel"), chromedp.Click(css("[data-state=drain]")))
		p.says("#server-head", "drain")
		p.says("#layers", "new kernel")
		require.Contains(t, a.MustRunCommand("explain", "c/"+served), "drain")
		p.says("#events", "server_state c/"+served)
		p.do(chromedp.Click(css("[data-state=maint]")))
		p.says("#server-head", "maint")
		p.do(chromedp.SetValue(css("#weight"), "7"), chromedp.Click(css("#set-weight")))
		p.says("#server-head", "weight 7")
		p.do(chromedp.SetValue(css("#weight"), "700"), chromedp.Click(css("#set-weight")))
		p.says("#server-error", "from 0 to 256")
		p.do(chromedp.Click(css("[data-state='']")))
		p.says("#server-head", "up since")
		p.says("#server-head", "weight 1")
		p.says("#kill", "Kill 1 session")
		p.do(chromedp.Click(css("#kill")))
		p.says("#kill", "Really")
		require.NoError(t, weirtest.PingPong(c), "one click cuts nothing")
		p.do(chromedp.Click(css("#kill")))
		_, end := nettest.ReadToEnd(c, 20*time.Second)
		require.Equal(t, nettest.Reset, end)
		p.says("#kill", "No sessions")

		c = nettest.Dial(t, l.Listen)
		require.NoError(t, weirtest.PingPong(c))
		p.do(chromedp.Click(css("#server .close button")))
		p.until("!document.getElementById('server').open")
		for _, server := range []string{"A", "B"} {
			p.open(server)
			p.until("document.getElementById('server-head').textContent !== ''")
			if p.eval("document.querySelector('#server-sessions tbody button') !== null") == true {
				break
			}
			p.do(chromedp.Click(css("#server .close button")))
		}
		p.do(chromedp.Click(css("#server-sessions tbody button")))
		_, end = nettest.ReadToEnd(c, 20*time.Second)
		require.Equal(t, nettest.Reset, end)
	})

	// Texts from servers and operators are shown as text.
	t.Run("hostile texts", func(t *testing.T) {
		text, err := json.Marshal(map[string]string{"state": "maint", "reason": hostile})
		require.NoError(t, err)
		a.MustDo("PATCH /v1/clusters/x/servers/X", string(text))
		p := newTab(t, chromium, 1280, 800, url)
		p.login(secretToken)
		p.says("#clusters", "onerror")
		p.says("#events", "onerror")
		p.open("X")
		p.says("#layers", "<script>")
		p.do(chromedp.Click(css("#server .close button")))
		require.EqualValues(t, 0, p.eval("document.querySelectorAll('img').length"))
		require.EqualValues(t, 2, p.eval("document.querySelectorAll('script').length"))
		// The policy would block a script.
		p.eval("document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = \"owned\"; window.owned = true'}))")
		p.eval("document.body.insertAdjacentHTML('beforeend', '<img src=\"/none\" onerror=\"window.owned = true\">')")
		p.eval("new Promise(done => setTimeout(done, 200))")
		require.Nil(t, p.eval("window.owned"))
		require.NotContains(t, p.eval("document.title"), "owned")
		require.Equal(t, true, p.eval("performance.getEntriesByType('resource').every(r => r.name.startsWith(location.origin))"))
		a.MustDo("PATCH /v1/clusters/x/servers/X", `{"state": null}`)
	})

	t.Run("on a phone, by keyboard", func(t *testing.T) {
		p := newTab(t, chromium, 360, 740, url)
		p.login(secretToken)
		p.says("#problems", "x: ")
		require.EqualValues(t, 360, p.eval("document.documentElement.scrollWidth"), "nothing sticks out")
		p.until("document.querySelector('#clusters tr.server button') !== null")
		p.eval("document.getElementById('plan').focus()")
		for range 30 {
			p.do(chromedp.KeyEvent(kb.Tab))
			if p.eval("document.activeElement.textContent === 'A'") == true {
				break
			}
		}
		p.do(chromedp.KeyEvent(kb.Enter))
		p.until("document.getElementById('server').open")
		p.says("#server-name", "c/A")
		p.says("#layers", "configuration")
		require.EqualValues(t, 360, p.eval("document.documentElement.scrollWidth"))
		require.Equal(t, true, p.eval("document.getElementById('server').scrollWidth <= 360"))
		p.do(chromedp.KeyEvent(kb.Escape))
		p.until("!document.getElementById('server').open")
	})

	t.Run("a reload", func(t *testing.T) {
		p := newTab(t, chromium, 1280, 800, url)
		p.login(secretToken)
		w.WriteConfig(withAdmin(strings.Replace(a.AddTo(l.String(), at), "name=B", "name=C", 1), "token_file = %q", key))
		p.do(chromedp.Click(css("#plan")))
		p.says("#steps", "C")
		p.do(chromedp.Click(css("#reload-now")))
		p.until("!document.getElementById('reload').open")
		p.says("#clusters", "C")
		w.WriteConfig("what is this")
		p.do(chromedp.Click(css("#plan")))
		p.says("#reload-error", w.File)
		code, _ := a.Do("POST /v1/reload", "")
		require.Equal(t, 422, code)
		p.says("#problems", "last reload failed")
		p.says("#problems", w.File)
		w.WriteConfig(withAdmin(a.AddTo(l.String(), at), "token_file = %q", key))
	})

	t.Run("when weir is gone", func(t *testing.T) {
		p := newTab(t, chromium, 1280, 800, url)
		p.login(secretToken)
		p.says("#problems", "x: ")
		w.Signal(syscall.SIGINT)
		require.Zero(t, w.WaitExit(30*time.Second))
		p.says("#problems", "no response from weir")
		require.Equal(t, "lost", p.eval("document.body.className"))
	})

	t.Run("token", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "token")
		require.NoError(t, os.WriteFile(file, []byte("open-sesame-please\n"), 0o600))
		at, a := nettest.Reserve(t), weirtest.NewAPI(t)
		l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr() + " name=A")}
		w := weirtest.Start(t, strings.Replace(a.AddTo(l.String(), at), "[admin]", fmt.Sprintf("[admin]\ntoken_file = %q", file), 1))
		p := newTab(t, chromium, 1280, 800, "http://"+at+"/")
		p.until("document.getElementById('login').open")
		p.do(chromedp.KeyEvent(kb.Escape))
		p.do(chromedp.SendKeys(css("#token"), "open-barley\n"))
		p.says("#login-error", "not the token")
		p.do(chromedp.SendKeys(css("#token"), "open-sesame-please\n"))
		p.says("#problems", "No problems")
		p.open("A")
		p.do(chromedp.Click(css("[data-state=drain]")))
		p.says("#server-head", "drain")
		p.do(chromedp.Click(css("#server .close button")), chromedp.Click(css("#forget")))
		p.until("document.getElementById('login')?.open === true")
		require.Nil(t, p.eval("sessionStorage.getItem('weir-token')"))
		w.Signal(syscall.SIGINT) // while the browser keeps its connections
		require.Zero(t, w.WaitExit(30*time.Second))
	})

	t.Run("many servers", func(t *testing.T) {
		at, a := nettest.Reserve(t), weirtest.NewAPI(t)
		names := make([]string, 10_000)
		for i := range names {
			names[i] = fmt.Sprintf("%s name=s%05d", host.Addr(), i)
		}
		w := weirtest.Start(t, a.AddTo(weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(names...)}.String(), at))
		a.MustDo("PATCH /v1/clusters/c/servers/s00500", `{"state": "drain"}`)
		p := newTab(t, chromium, 1280, 800, "http://"+at+"/")
		rows := "document.querySelectorAll('#clusters tr.server').length"
		p.until(rows + " === 1")
		if weirtest.Campaign() { // an idle machine
			var took []float64
			for range 10 {
				p.do(chromedp.Reload())
				p.until(rows + " === 1")
				took = append(took, p.eval("performance.now()").(float64))
			}
			require.LessOrEqual(t, slices.Min(took), 300.0, "milliseconds from the navigation to the servers, the best of ten")
		}
		require.Less(t, len(a.MustDo("GET /v1/status?max_servers=0", "")), 20_000, "the page loads only what it lists")
		p.says("#read-only", "token")
		p.open("s00500")
		require.Equal(t, true, p.eval("[...document.querySelectorAll('#plan, .actions button')].every(b => b.disabled && b.title.includes('Read-only'))"))
		p.do(chromedp.Click(css("#server .close button")))
		p.says("#clusters", "9999 servers up")
		p.eval("[...document.querySelectorAll('.cluster div > button.link')].find(b => b.textContent.startsWith('show all')).click()")
		p.until(rows + " === 500")
		p.says("#clusters", "9500 more: use the filter")
		p.do(chromedp.SendKeys(css("#filter"), "s0012"))
		p.until(rows + " === 10")
		w.Signal(syscall.SIGINT)
		require.Zero(t, w.WaitExit(30*time.Second))
	})
}

// The page is the same for every client, and its policy loads nothing from other hosts.
func TestDashboardPolicy(t *testing.T) {
	t.Parallel()
	at, a := nettest.Reserve(t), weirtest.NewAPI(t)
	weirtest.Start(t, a.AddTo(weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1")}.String(), at))
	res, err := http.Get("http://" + at + "/")
	require.NoError(t, err)
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
	policy := res.Header.Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'")
	require.NotContains(t, policy, "unsafe")
	require.NotContains(t, policy, "http")
	require.Empty(t, res.Header.Get("Access-Control-Allow-Origin"))
	page := strings.Replace(string(text), "/*! https://github.com/leeoniya/uPlot (v1.6.32) */", "", 1)
	for _, elsewhere := range []string{"http://", "https://", "src=\"", "//cdn", "innerHTML", "style=\"", "onclick="} {
		require.NotContains(t, page, elsewhere)
	}
	_, port, err := net.SplitHostPort(at)
	require.NoError(t, err)
	require.NotContains(t, string(text), port)
}
