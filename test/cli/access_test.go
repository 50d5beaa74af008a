// Who may do what through the API: attacks on the built binary.

package cli_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// soon is far below the time after which the API gives up a client that is slow with its request.
const soon = 4 * time.Second

const secretToken = "correct-horse-battery-staple"

// tokenFile writes a token file.
func tokenFile(t *testing.T, token string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	return file
}

// withAdmin adds keys to the [admin] table.
func withAdmin(config, keys string, values ...any) string {
	return strings.Replace(config, "[admin]\n", "[admin]\n"+fmt.Sprintf(keys, values...)+"\n", 1)
}

// sendTCP sends a request to a TCP address and returns the status code and the body.
func sendTCP(t *testing.T, at, request, body, token string) (int, string) {
	t.Helper()
	method, path, _ := strings.Cut(request, " ")
	req, err := http.NewRequest(method, "http://"+at+path, strings.NewReader(body))
	require.NoError(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}} // in a flood, its turn comes late
	res, err := client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(text)
}

// everyChange returns a request for each endpoint that does not only read.
func everyChange() []string {
	return []string{
		"PUT /v1/clusters/x", "DELETE /v1/clusters/c", "POST /v1/clusters/c/failback", "POST /v1/clusters/c/servers",
		"PATCH /v1/clusters/c/servers/A", "DELETE /v1/clusters/c/servers/A", "POST /v1/clusters/c/servers/A/feedback",
		"DELETE /v1/clusters/c/servers/A/sessions", "DELETE /v1/sessions/1", "POST /v1/reload", "POST /v1/plan", "POST /v1/stop", "POST /v1/upgrade",
	}
}

func TestTCPWithoutTokenIsReadOnly(t *testing.T) {
	t.Parallel()
	tcp, a := nettest.Reserve(t), weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A", "127.0.0.1:2 name=B")}
	w := weirtest.Start(t, a.AddTo(l.String(), tcp))
	w.WaitRecord(15*time.Second, "a warning", func(r weirtest.Record) bool {
		return r.Text("msg") == "configuration warning" && strings.Contains(r.Text("warning"), tcp+" has no token: every user of this host can read")
	})
	before := a.MustDo("GET /v1/clusters/c", "")
	for _, request := range everyChange() {
		code, text := sendTCP(t, tcp, request, `{"state": "maint"}`, "")
		require.Equal(t, 403, code, request)
		require.Contains(t, text, "read-only", request)
	}
	require.Equal(t, before, a.MustDo("GET /v1/clusters/c", ""))
	for _, path := range []string{"/", "/healthz", "/metrics", "/v1/status", "/v1/sessions", "/v1/events?follow=false"} {
		code, _ := sendTCP(t, tcp, "GET "+path, "", "")
		require.Equal(t, 200, code, path)
	}
	a.MustDo("PATCH /v1/clusters/c/servers/A", `{"state": "maint"}`)

	code, out := weirtest.RunCommand(t, "server", "c/A", "drain", "--admin", tcp)
	require.Equal(t, 1, code)
	require.Contains(t, out, "--token-file")
	require.Contains(t, out, "unix socket")
	code, _ = weirtest.RunCommand(t, "status", "--admin", tcp)
	require.Zero(t, code)
}

// A request must not make weir run a program or read a file or variable of the host, on any address.
func TestRequestsCannotRunProgramsOrNameFiles(t *testing.T) {
	t.Parallel()
	ran := filepath.Join(t.TempDir(), "ran")
	program := fmt.Sprintf(`"type": "exec", "command": ["/usr/bin/touch", %q]`, ran)
	requests := []struct{ request, body, field string }{
		{"PUT /v1/clusters/x", `{"levels": [{"servers": ["127.0.0.1:1"]}], "checks": [{` + program + `}]}`, "checks[0].type"},
		{"PUT /v1/clusters/c", `{"levels": [{"servers": ["127.0.0.1:1"]}], "checks": [{"type": "tcp"}, {"id": "e", ` + program + `}]}`, "checks[1].type"},
		{"PUT /v1/clusters/x", `{"levels": [{"servers": ["127.0.0.1:1"]}], "checks": [{"type": "redis", "password_file": "/etc/shadow"}]}`, "checks[0].password_file"},
		{"PUT /v1/clusters/x", `{"levels": [{"servers": ["127.0.0.1:1"]}], "checks": [{"type": "mysql", "user": "u", "password_env": "HOME"}]}`, "checks[0].password_env"},
		{"PUT /v1/clusters/x", `{"levels": [{"servers": ["127.0.0.1:1"]}], "checks": [{"type": "tcp", "tls": true, "tls_ca_file": "/etc/shadow"}]}`, "checks[0].tls_ca_file"},
		{"POST /v1/clusters/c/servers", `{"address": "127.0.0.1:2", "some_file": "/etc/shadow"}`, "some_file"},
		{"POST /v1/clusters/c/servers", `{"address": "unix:/run/docker.sock"}`, "address"},
		{"POST /v1/clusters/c/servers", `"unix:/run/docker.sock weight=2"`, "address"},
		{"POST /v1/clusters/c/servers", `" unix:/run/docker.sock"`, "address"},
		{"PUT /v1/clusters/x", `{"levels": [{"servers": ["127.0.0.1:1", "unix:/run/docker.sock"]}]}`, "levels[0].servers[1]"},
		{"PUT /v1/clusters/x", `{"levels": [{"servers": ["\u3000unix:/run/docker.sock"]}]}`, "levels[0].servers[0]"},
	}
	state := filepath.Join(t.TempDir(), "state")
	a := weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A"), Runtime: fmt.Sprintf("state_file = %q", state)}
	strict := a.AddTo(l.String())
	w := weirtest.Start(t, strict)
	for _, r := range requests {
		code, text := a.Do(r.request, r.body)
		require.Equal(t, 403, code, "%s: %s", r.body, text)
		var problem struct{ Error, Field string }
		require.NoError(t, json.Unmarshal([]byte(text), &problem))
		require.Equal(t, r.field, problem.Field)
		require.Contains(t, problem.Error, "allow_programs")
	}
	require.NoFileExists(t, ran)
	code, _ := a.Do("GET /v1/clusters/x", "")
	require.Equal(t, 404, code)

	w.Reload(withAdmin(strict, "allow_programs = true"))
	a.MustDo("PUT /v1/clusters/x", requests[0].body)
	nettest.Wait(t, 15*time.Second, "the check to run", func() bool { _, err := os.Stat(ran); return err == nil })

	w.Reload(strict) // also takes back what it had allowed, and what the state file brings
	code, _ = a.Do("GET /v1/clusters/x", "")
	require.Equal(t, 404, code)
}

// A tampered state file does not make weir run a program.
func TestStateFileCannotRunPrograms(t *testing.T) {
	t.Parallel()
	ran, state := filepath.Join(t.TempDir(), "ran"), filepath.Join(t.TempDir(), "state")
	a := weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A"), Runtime: fmt.Sprintf("state_file = %q", state)}
	config := a.AddTo(l.String())
	w := weirtest.Start(t, withAdmin(config, "allow_programs = true"))
	body := `{"levels": [{"servers": ["127.0.0.1:1"]}], "checks": [{"type": "exec", "command": ["/usr/bin/touch", "` + ran + `"]}]}`
	a.MustDo("PUT /v1/clusters/x", body)
	a.MustDo("PUT /v1/clusters/y", `{"levels": [{"servers": ["127.0.0.1:1"]}]}`)
	nettest.Wait(t, 15*time.Second, "the check to run", func() bool { _, err := os.Stat(ran); return err == nil })
	a.MustRunCommand("stop", "--now")
	require.Zero(t, w.WaitExit(15*time.Second))
	require.NoError(t, os.Remove(ran))

	w = weirtest.Start(t, config)
	code, _ := a.Do("GET /v1/clusters/x", "")
	require.Equal(t, 404, code)
	a.MustDo("GET /v1/clusters/y", "")
	require.Contains(t, w.Output(), "allow_programs")
	require.NoFileExists(t, ran)
}

func TestReadTokenReadsOnly(t *testing.T) {
	t.Parallel()
	tcp, a := nettest.Reserve(t), weirtest.NewAPI(t)
	const reader = "read-only-read-only-read-only"
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A")}
	full, read := tokenFile(t, secretToken), tokenFile(t, reader)
	weirtest.Start(t, withAdmin(a.AddTo(l.String(), tcp), "token_file = %q\nread_token_file = %q", full, read))
	for _, path := range []string{"/v1/status", "/metrics", "/healthz", "/v1/events?follow=false"} {
		for token, want := range map[string]int{"": 401, "another-token-of-some-length": 401, reader: 200, secretToken: 200} {
			code, text := sendTCP(t, tcp, "GET "+path, "", token)
			require.Equal(t, want, code, "%s %q: %s", path, token, text)
		}
	}
	for _, request := range everyChange() {
		code, text := sendTCP(t, tcp, request, "", reader)
		require.Equal(t, 403, code, "%s: %s", request, text)
	}
	code, _ := sendTCP(t, tcp, "PATCH /v1/clusters/c/servers/A", `{"state": "maint"}`, secretToken)
	require.Equal(t, 200, code)
	code, out := weirtest.RunCommand(t, "server", "c/A", "reset", "--admin", tcp, "--token-file", read)
	require.Equal(t, 1, code)
	require.Contains(t, out, "--token-file")
}

// Clients without the token do not keep out clients with it, whatever they send, and a refused request ends its connection.
func TestRefusedRequestsHoldNoPlace(t *testing.T) {
	t.Parallel()
	tcp, a := nettest.Reserve(t), weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A")}
	w := weirtest.Start(t, withAdmin(a.AddTo(l.String(), tcp), "token_file = %q", tokenFile(t, secretToken)))

	c := nettest.Dial(t, tcp)
	_, err := io.WriteString(c, "POST /v1/reload HTTP/1.1\r\nHost: weir\r\nContent-Length: 20\r\n\r\n")
	require.NoError(t, err)
	began := time.Now()
	c.SetReadDeadline(began.Add(10 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	require.Equal(t, 401, res.StatusCode)
	_, end := nettest.ReadToEnd(c, 10*time.Second)
	require.Equal(t, nettest.EOF, end)
	require.Less(t, nettest.Elapsed(began), soon, "the connection is closed although the body never comes")

	for _, text := range []string{
		"POST /v1/reload HTTP/1.1\r\nHost: weir\r\nContent-Length: 20\r\n\r\n",
		"POST /v1/plan HTTP/1.1\r\nHost: weir\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"PUT /v1/clusters/x HTTP/1.1\r\nHost: weir\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n",
		"GET /v1/status HTTP/1.1\r\nHost: weir\r\nContent-Length: 20\r\nAuthorization: Bearer wrong\r\n\r\n",
		"GET /v1/events HTTP/1.1\r\nHost: weir\r\nX-Slow: ",
		"",
	} {
		var held []net.Conn
		for range 100 {
			c, err := net.Dial("tcp", tcp)
			require.NoError(t, err)
			held = append(held, c)
			io.WriteString(c, text)
		}
		for range 3 {
			began := time.Now()
			code, _ := sendTCP(t, tcp, "PATCH /v1/clusters/c/servers/A", `{"weight": 2}`, secretToken)
			require.Equal(t, 200, code, "%q", text)
			require.Less(t, nettest.Elapsed(began), soon, "%q", text)
		}
		for _, c := range held {
			c.Close()
		}
	}
	require.NotEmpty(t, w.Records(func(r weirtest.Record) bool { return r.Text("msg") == "API request refused" }))
}

// While connections come as fast as a client can open them, requests with the token are served.
func TestTokenGetsInDuringFlood(t *testing.T) {
	t.Parallel()
	tcp, a := nettest.Reserve(t), weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A")}
	weirtest.Start(t, withAdmin(a.AddTo(l.String(), tcp), "token_file = %q", tokenFile(t, secretToken)))
	var stop atomic.Bool
	var flood sync.WaitGroup
	for range 4 {
		flood.Go(func() {
			var held []net.Conn
			for !stop.Load() {
				if c, err := net.Dial("tcp", tcp); err == nil {
					io.WriteString(c, "POST /v1/reload HTTP/1.1\r\nHost: weir\r\nContent-Length: 9\r\n\r\n")
					held = append(held, c)
				}
				if len(held) > 100 {
					held[0].Close()
					held = held[1:]
				}
			}
			for _, c := range held {
				c.Close()
			}
		})
	}
	defer flood.Wait()
	defer stop.Store(true)
	for range 20 {
		code, _ := sendTCP(t, tcp, "GET /v1/status", "", secretToken)
		require.Equal(t, 200, code)
	}
}

// An address keeps its token until it is closed, also when a reload removes both.
func TestReloadNeverOpensAddressWithoutToken(t *testing.T) {
	t.Parallel()
	tcp, a := nettest.Reserve(t), weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A")}
	guarded := withAdmin(a.AddTo(l.String(), tcp), "token_file = %q", tokenFile(t, secretToken))
	unguarded := a.AddTo(l.String())
	w := weirtest.Start(t, guarded)
	var stop atomic.Bool
	var asked, open atomic.Int64
	var askers sync.WaitGroup
	client := http.Client{Timeout: 20 * time.Second}
	for range 4 {
		askers.Go(func() {
			for !stop.Load() {
				res, err := client.Get("http://" + tcp + "/v1/status")
				if err != nil {
					continue
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
				asked.Add(1)
				if res.StatusCode != 401 {
					open.Add(1)
				}
			}
		})
	}
	for range 12 {
		for _, config := range []string{unguarded, guarded} {
			w.WriteConfig(config)
			a.MustDo("POST /v1/reload", "")
		}
	}
	stop.Store(true)
	askers.Wait()
	require.Zero(t, open.Load(), "of %d", asked.Load())
	require.Positive(t, asked.Load())
}

// An address of the API that a reload removes is free when the reload has ended: the next one can open it again, while a client
// still uses the old connection.
func TestAddressOfAPIReturnsAtOnce(t *testing.T) {
	t.Parallel()
	tcp, unix, a := nettest.Reserve(t), filepath.Join(weirtest.ShortTempDir(t), "d", "second.sock"), weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A")}
	with, without := a.AddTo(l.String(), tcp, "unix:"+unix), a.AddTo(l.String())
	w := weirtest.Start(t, with)
	for range 10 {
		for _, address := range []string{"tcp " + tcp, "unix " + unix} {
			network, address, _ := strings.Cut(address, " ")
			busy, err := net.Dial(network, address)
			require.NoError(t, err)
			defer busy.Close()
			_, err = io.WriteString(busy, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
			require.NoError(t, err)
			_, err = busy.Read(make([]byte, 1))
			require.NoError(t, err)
		}
		w.WriteConfig(without)
		a.MustDo("POST /v1/reload", "")
		_, err := net.Dial("tcp", tcp)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.NoFileExists(t, unix)
		w.WriteConfig(with)
		a.MustDo("POST /v1/reload", "")
		code, _ := sendTCP(t, tcp, "GET /healthz", "", "")
		require.Equal(t, 200, code)
		weirtest.NewAPIAt(t, unix).MustDo("GET /healthz", "")
	}
}

// A page of another origin reads nothing, also in a browser that sends no Sec-Fetch-Site.
func TestForeignOriginReadsNothing(t *testing.T) {
	t.Parallel()
	tcp, a := nettest.Reserve(t), weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A")}
	weirtest.Start(t, a.AddTo(l.String(), tcp))
	for _, path := range []string{"/v1/events?follow=false", "/v1/events", "/v1/status", "/metrics", "/v1/sessions", "/"} {
		for origin, want := range map[string]int{
			"http://evil.example": 403, "https://" + tcp + ".evil.example": 403, "null": 403, "http://" + tcp + "0": 403, "://": 403, "http://" + tcp: 200, "": 200,
		} {
			if path == "/v1/events" && want == 200 {
				continue // it does not end
			}
			req, err := http.NewRequest("GET", "http://"+tcp+path, nil)
			require.NoError(t, err)
			if origin != "" {
				req.Header.Set("Origin", origin)
			}
			res, err := (&http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
			require.NoError(t, err)
			res.Body.Close()
			require.Equal(t, want, res.StatusCode, "%s from %q", path, origin)
		}
	}
}

// With few descriptors, clients of the API get no more than their share: sessions and checks have theirs.
func TestClientsOfAPIKeepToTheirDescriptors(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("x", nettest.Echo))
	tcp, a := nettest.Reserve(t), weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Runtime: "loops = 1", Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Options{DescriptorLimit: 64}.Start(t, a.AddTo(l.String(), tcp))
	budget := w.Records(func(r weirtest.Record) bool { return r.Text("msg") == "descriptors" })[0]
	used := func() int { return len(w.Process().Descriptors()) }
	before := used()
	for _, address := range []string{"tcp " + tcp, "unix " + a.Socket} {
		network, address, _ := strings.Cut(address, " ")
		for range 64 { // each of them gets a place, and takes that of another one when all are taken
			c, err := net.Dial(network, address)
			require.NoError(t, err)
			defer c.Close()
			io.WriteString(c, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
			require.LessOrEqual(t, used()-before, budget.Int("api")+2) // at each address one is accepted before another is closed
		}
	}
	var held []net.Conn
	for range budget.Int("max_sessions") {
		c := nettest.Dial(t, l.Listen)
		require.Equal(t, "x", weirtest.ReadByte(t, c))
		held = append(held, c)
	}
	require.NotEmpty(t, held)
	require.Empty(t, w.Records(func(r weirtest.Record) bool { return strings.Contains(r.Text("error"), "too many open files") }))
}

func TestRefusedRequestsAreCountedAndLogged(t *testing.T) {
	t.Parallel()
	tcp, a := nettest.Reserve(t), weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A")}
	w := weirtest.Start(t, withAdmin(a.AddTo(l.String(), tcp), "token_file = %q", tokenFile(t, secretToken)))
	for range 50 {
		sendTCP(t, tcp, "GET /v1/status", "", "a-wrong-token-of-some-length")
	}
	require.Equal(t, "50", a.Metric("weir_api_refused_total"))
	refused := func(r weirtest.Record) bool { return r.Text("msg") == "API request refused" }
	nettest.Wait(t, 15*time.Second, "a record", func() bool { return len(w.Records(refused)) > 0 })
	list := w.Records(refused)
	require.Less(t, len(list), 10)
	require.Regexp(t, `^127\.0\.0\.1:\d+$`, list[0].Text("peer"))
	require.Equal(t, "token", list[0].Text("reason"))
	require.NotContains(t, w.Output(), "a-wrong-token")
}

// Files with weak tokens, or that other users can read, are errors of a check, a start and a reload.
func TestWeakTokenFileIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := map[string]string{}
	for name, mode := range map[string]os.FileMode{"readable": 0o644, "writable": 0o602, "group": 0o640} {
		files[name] = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(files[name], []byte(secretToken+"\n"), 0o600))
		require.NoError(t, os.Chmod(files[name], mode))
	}
	tcp, a := nettest.Reserve(t), weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A")}
	plain := a.AddTo(l.String(), tcp)
	w := weirtest.Start(t, plain)
	for _, key := range []string{"token_file", "read_token_file"} {
		for file, want := range map[string]string{
			files["readable"]: "mode 0644", files["writable"]: "mode 0602", tokenFile(t, "short"): "at least 16 bytes, got 5", tokenFile(t, ""): "want one line",
		} {
			config := withAdmin(plain, key+" = %q", file)
			text := w.FailReload(config).Text("error")
			require.Regexp(t, `weir\.toml:\d+:\d+: admin\.`+key+`: `, text)
			require.Contains(t, text, want)
			code, out := weirtest.RunCommand(t, "check", "-c", w.File)
			require.Equal(t, 1, code)
			require.Contains(t, out, want)
			require.NotContains(t, out, secretToken)
			code, _ = sendTCP(t, tcp, "GET /v1/status", "", "")
			require.Equal(t, 200, code, "the running configuration stays")
		}
	}
	w.Reload(withAdmin(plain, "token_file = %q", files["group"]))
	code, _ := sendTCP(t, tcp, "GET /v1/status", "", "")
	require.Equal(t, 401, code)
}

// Overrides record who asked: in the layers, the events and the state file.
func TestOverrideRecordsWhoAsked(t *testing.T) {
	t.Parallel()
	tcp, a, state := nettest.Reserve(t), weirtest.NewAPI(t), filepath.Join(t.TempDir(), "state")
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A", "127.0.0.1:2 name=B"), Runtime: fmt.Sprintf("state_file = %q", state)}
	weirtest.Start(t, withAdmin(a.AddTo(l.String(), tcp), "token_file = %q", tokenFile(t, secretToken)))
	me, err := user.Current()
	require.NoError(t, err)
	a.MustDo("PATCH /v1/clusters/c/servers/A", `{"state": "maint", "reason": "new kernel"}`)
	code, _ := sendTCP(t, tcp, "PATCH /v1/clusters/c/servers/B", `{"state": "drain"}`, secretToken)
	require.Equal(t, 200, code)
	by := "user " + me.Username
	require.Contains(t, a.MustRunCommand("explain", "c/A"), by)
	require.Regexp(t, `operator \(127\.0\.0\.1:\d+\)`, a.MustRunCommand("explain", "c/B"))
	events := a.MustRunCommand("events", "--json")
	require.Contains(t, events, `"by":"`+by+`"`)
	require.Regexp(t, `"by":"127\.0\.0\.1:\d+"`, events)
	require.Contains(t, weirtest.ReadFile(t, state), by)
	a.MustDo("PATCH /v1/clusters/c/servers/A", `{"state": null}`)
	require.Equal(t, 2, strings.Count(a.MustRunCommand("events", "--json"), `"by":"`+by+`"`))
}

// The text of a plan request must not be an oracle for files of the host, nor keep weir busy.
func TestPostedPlanReadsNoOtherFiles(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret.toml")
	require.NoError(t, os.WriteFile(secret, []byte("root-hash-of-the-secret\n"), 0o600))
	_, _, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel("127.0.0.1:1 name=A")})
	var texts []string
	for _, pattern := range []string{secret, filepath.Dir(secret) + "/*", filepath.Dir(secret) + "/none", "/proc/*/*/*/*/*", "/proc/*/task/*/fd/*", "../../../../etc/*"} {
		code, text := a.Do("POST /v1/plan", fmt.Sprintf("include = [%q]\n", pattern))
		require.Equal(t, 422, code, pattern)
		require.Contains(t, text, "may include only files below", pattern)
		require.NotContains(t, text, "root-hash")
		texts = append(texts, strings.Replace(text, pattern, "", 1))
	}
	require.Equal(t, texts[1], texts[2], "a file that exists looks like one that does not")
	code, text := a.Do("POST /v1/plan?file="+filepath.Dir(secret)+"/weir.toml", "include = [\"*.toml\"]\n")
	require.Equal(t, 422, code)
	require.NotContains(t, text, "root-hash")
}

// The commands reach an API with HTTPS and client certificates.
func TestCommandsUseClientCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, command := range []string{
		"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt",
		"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=weir -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=CA:FALSE -CA ca.crt -CAkey ca.key -keyout server.key -out server.crt",
		"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=alice -addext basicConstraints=CA:FALSE -CA ca.crt -CAkey ca.key -keyout alice.key -out alice.crt",
	} {
		cmd := exec.Command("openssl", strings.Fields(command)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	tcp, a := nettest.Reserve(t), weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A")}
	weirtest.Start(t, withAdmin(a.AddTo(l.String(), tcp), "tls_cert_file = %q\ntls_key_file = %q\ntls_client_ca_file = %q", at("server.crt"), at("server.key"), at("ca.crt")))
	flags := []string{"--admin", "https://" + tcp, "--ca-file", at("ca.crt")}
	code, out := weirtest.RunCommand(t, append([]string{"status"}, flags...)...)
	require.Equal(t, 2, code, out)
	flags = append(flags, "--cert-file", at("alice.crt"), "--key-file", at("alice.key"))
	code, out = weirtest.RunCommand(t, append([]string{"server", "c/A", "drain"}, flags...)...)
	require.Zero(t, code, out)
	require.Contains(t, a.MustRunCommand("explain", "c/A"), "(alice)")
}

// Clients that announce a body with GET, and send it never or slowly, hold no place: readers are served beside them.
func TestReadersWithBodiesHoldNoPlace(t *testing.T) {
	t.Parallel()
	tcp, a := nettest.Reserve(t), weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A")}
	weirtest.Start(t, a.AddTo(l.String(), tcp))
	for _, text := range []string{
		"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nx",
		"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
	} {
		for range 100 {
			c := nettest.Dial(t, tcp)
			io.WriteString(c, text)
		}
		for range 3 {
			code, _ := sendTCP(t, tcp, "GET /readyz", "", "")
			require.Equal(t, 200, code, "%q", text)
		}
	}
}

// Clients that may only read cannot take all event streams.
func TestReadersLeaveEventStreamsToOthers(t *testing.T) {
	t.Parallel()
	tcp, a := nettest.Reserve(t), weirtest.NewAPI(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1 name=A")}
	weirtest.Start(t, a.AddTo(l.String(), tcp))
	refused := 0
	for range 32 {
		c := nettest.Dial(t, tcp)
		io.WriteString(c, "GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		if res.StatusCode == 503 {
			refused++
		}
	}
	require.Equal(t, 8, refused)
	c, err := net.Dial("unix", a.Socket)
	require.NoError(t, err)
	defer c.Close()
	io.WriteString(c, "GET /v1/events HTTP/1.1\r\nHost: weir\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	require.Equal(t, 200, res.StatusCode)
}
