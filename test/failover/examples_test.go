// The delivered examples, run as they are written in front of real servers.

package failover_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// example is a file of packaging/examples in which a test replaces addresses, users and passwords, and nothing else.
type example struct {
	t    *testing.T
	text string
}

func readExample(t *testing.T, name string) *example {
	t.Helper()
	return &example{t, weirtest.ReadFile(t, filepath.Join("../../packaging/examples", name))}
}

// replace replaces a text wherever the example has it. The example must have it.
func (e *example) replace(old, to string) {
	e.t.Helper()
	require.Contains(e.t, e.text, old, "the example has changed: change the test")
	e.text = strings.ReplaceAll(e.text, old, to)
}

// listen replaces the port of listeners at all addresses by another one and returns the address for clients.
func (e *example) listen(port string) string {
	e.t.Helper()
	addr := nettest.Reserve(e.t)
	_, free, _ := net.SplitHostPort(addr)
	e.replace(`address = ":`+port+`"`, `address = ":`+free+`"`)
	return addr
}

// start checks the example and runs it. The rest of its addresses and paths would be those of another host.
func (e *example) start() (*weirtest.Weir, weirtest.API) {
	e.t.Helper()
	require.Empty(e.t, regexp.MustCompile(`\b10(\.\d+){3}|/etc/weir\S*`).FindAllString(e.text, -1), "the example has changed: change the test")
	file := filepath.Join(e.t.TempDir(), "weir.toml")
	require.NoError(e.t, os.WriteFile(file, []byte(e.text), 0o644))
	past := time.Now().Add(-time.Minute) // nothing waits for it to be complete
	require.NoError(e.t, os.Chtimes(file, past, past))
	code, out := weirtest.RunCommand(e.t, "check", "-c", file)
	require.Zero(e.t, code, out)
	require.Equal(e.t, file+": ok\n", out)
	a := weirtest.NewAPI(e.t)
	w := weirtest.Start(e.t, a.AddTo(e.text+"\n[admin]\nlisten = \"\"\n[log]\nformat = \"json\"\n"))
	nettest.Wait(e.t, 15*time.Second, "a status without problems", func() bool { return strings.Contains(a.MustRunCommand("status"), "no problems") })
	return w, a
}

// drainAndStop stops weir while a client has a session, which still works and holds up the stop until the client ends it.
func drainAndStop(t *testing.T, w *weirtest.Weir, a weirtest.API, addr string, use func() error, end func()) {
	t.Helper()
	stop := exec.Command(weirtest.Binary, "stop", "--admin", "unix:"+a.Socket)
	require.NoError(t, stop.Start())
	nettest.Wait(t, 15*time.Second, "the listener to close", func() bool {
		c, err := nettest.TryDial(addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	require.NoError(t, use())
	require.False(t, w.HasExited())
	end()
	require.Zero(t, w.WaitExit(15*time.Second))
	require.NoError(t, stop.Wait())
}

// The Redis example: a session continues through an upgrade, readers leave a drained replica, and clients that connect while the
// primary is dead wait for the next one.
func TestRedisSentinelExample(t *testing.T) {
	t.Parallel()
	r := nettest.StartReplication(t, nettest.SentinelOptions{DownAfter: downAfter})
	e := readExample(t, "redis-sentinel.toml")
	write, read := e.listen("6379"), e.listen("6380")
	for i, host := range []string{"10.0.0.11", "10.0.0.12", "10.0.0.13"} {
		e.replace(host+":6379", r.Servers[i].Addr())
		e.replace(host+":26379", r.Sentinels[i].Addr())
	}
	w, a := e.start()
	w.Baseline = nil // weir keeps connections to the Sentinels
	dial := func(addr string) *respClient {
		t.Helper()
		c, err := dialRedis(addr, requestTimeout)
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	// server returns which server a session has.
	server := func(c *respClient) string {
		t.Helper()
		config, err := c.do(holdTimeout, "CONFIG", "GET", "port")
		require.NoError(t, err)
		return net.JoinHostPort("127.0.0.1", config[1])
	}
	// visit returns which server a new session has.
	visit := func(addr string) string {
		t.Helper()
		c := dial(addr)
		defer c.Close()
		return server(c)
	}
	primary, replicas := r.Servers[0].Addr(), []string{r.Servers[1].Addr(), r.Servers[2].Addr()}
	writer, reader := dial(write), dial(read)
	require.Equal(t, primary, server(writer))
	_, err := writer.do(requestTimeout, "SET", "k", "v")
	require.NoError(t, err)
	drained := server(reader)
	require.Contains(t, replicas, drained)

	number := func(c *respClient) string {
		t.Helper()
		id, err := c.do(requestTimeout, "CLIENT", "ID")
		require.NoError(t, err)
		return id[0]
	}
	before := []string{number(writer), number(reader)}
	w.Upgrade()
	require.Equal(t, before, []string{number(writer), number(reader)}, "the same sessions at the servers")

	a.MustRunCommand("server", "redis-read/"+drained, "drain", "--reason", "new kernel")
	for range 4 {
		require.NotContains(t, []string{drained, primary}, visit(read))
	}
	require.Equal(t, drained, server(reader), "sessions of a drained server continue")
	a.MustRunCommand("server", "redis-read/"+drained, "reset")

	r.Servers[0].Kill()
	waiting := dial(write) // before the Sentinels have noticed
	next := server(waiting)
	require.Contains(t, replicas, next)
	_, err = writer.do(requestTimeout, "PING")
	require.Error(t, err, "the session of the dead primary is reset")
	_, err = waiting.do(requestTimeout, "SET", "k", "w")
	require.NoError(t, err)
	w.WaitRecord(15*time.Second, "the new primary", func(rec weirtest.Record) bool { return rec.IsEvent("primary_change") && rec.Text("to") == next })
	r.Servers[0].Up()
	for range 4 {
		require.Equal(t, next, visit(write), "the old primary returns as one, and gets no session")
	}
	drainAndStop(t, w, a, write, func() error { _, err := waiting.do(requestTimeout, "PING"); return err }, func() {
		waiting.Close()
		reader.Close()
	})
}

// The DNS example: no query is lost in an upgrade, at a drain, or when a server refuses; the far level serves when the near one is gone.
func TestDNSExample(t *testing.T) {
	t.Parallel()
	e := readExample(t, "dns.toml")
	addr := e.listen("53")
	var servers []*nettest.DNS
	for i, at := range []string{"10.0.0.53:53", "10.0.0.54:53", "10.1.0.53:53"} {
		d := nettest.StartDNS(t, nettest.ReserveDatagrams(t), "192.0.2."+string(rune('1'+i)))
		e.replace(at, d.Addr())
		servers = append(servers, d)
	}
	const first, second, far = "192.0.2.1", "192.0.2.2", "192.0.2.3"
	w, a := e.start()
	c := nettest.DialDatagrams(t, "", addr)
	id := uint16(0)
	ask := func(c net.Conn) (string, error) {
		id++
		return nettest.QueryDNS(c, id, 3*time.Second)
	}
	// answers sends queries and returns the different answers. None may be lost.
	answers := func(n int) map[string]bool {
		t.Helper()
		seen := map[string]bool{}
		for range n {
			got, err := ask(c)
			require.NoError(t, err)
			seen[got] = true
		}
		return seen
	}
	near := map[string]bool{first: true, second: true}
	require.Equal(t, near, answers(20))
	session := nettest.Dial(t, addr)
	asked, err := ask(session)
	require.NoError(t, err)
	require.Contains(t, near, asked)

	upgraded := make(chan struct{})
	var queries weirtest.Group
	queries.Go(func() error {
		for {
			if _, err := ask(c); err != nil {
				return err
			}
			select {
			case <-upgraded:
				return nil
			default:
			}
		}
	})
	w.Upgrade()
	close(upgraded)
	require.NoError(t, queries.Wait())
	again, err := ask(session)
	require.NoError(t, err)
	require.Equal(t, asked, again, "the same session over TCP")
	session.Close()

	a.MustRunCommand("server", "dns/"+servers[0].Addr(), "drain")
	require.Equal(t, map[string]bool{second: true}, answers(20))
	a.MustRunCommand("server", "dns/"+servers[0].Addr(), "reset")
	require.Equal(t, near, answers(20))

	servers[0].Kill()
	require.Equal(t, map[string]bool{second: true}, answers(20), "a query that is refused is sent to the other server")
	servers[1].Kill()
	nettest.Wait(t, 30*time.Second, "the far level", func() bool { got, err := ask(c); return err == nil && got == far })
	servers[0].Up()
	nettest.Wait(t, 30*time.Second, "the near level", func() bool { got, err := ask(c); return err == nil && got == first })

	session = nettest.Dial(t, addr)
	use := func() error { _, err := ask(session); return err }
	require.NoError(t, use())
	drainAndStop(t, w, a, addr, use, func() { session.Close() })
}
