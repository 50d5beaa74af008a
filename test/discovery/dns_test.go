package discovery_test

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// dnsmasq is a real DNS server for names of the test.
type dnsmasq struct {
	t    *testing.T
	addr string
	cmd  *exec.Cmd
}

// start starts it with records, as options of its command line, in place of a running one.
func (d *dnsmasq) start(records ...string) {
	d.t.Helper()
	d.stop()
	host, port, err := net.SplitHostPort(d.addr)
	require.NoError(d.t, err)
	args := append([]string{"--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--no-resolv", "--no-hosts", "--bind-interfaces",
		"--listen-address=" + host, "--port=" + port, "--local=/test/", "--local-ttl=1", "--max-ttl=1"}, records...)
	d.cmd = exec.Command("dnsmasq", args...)
	require.NoError(d.t, d.cmd.Start(), "install dnsmasq to run this test")
	nettest.Wait(d.t, 10*time.Second, "dnsmasq", func() bool {
		c, err := net.Dial("tcp", d.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (d *dnsmasq) stop() {
	if d.cmd != nil {
		d.cmd.Process.Kill()
		d.cmd.Wait()
		d.cmd = nil
	}
}

func newDnsmasq(t *testing.T) *dnsmasq {
	d := &dnsmasq{t: t, addr: nettest.ReserveDatagrams(t)}
	t.Cleanup(d.stop)
	return d
}

// srv returns the record of a host.
func srv(target string, h *nettest.Host, priority, weight int) string {
	return fmt.Sprintf("--srv-host=_db._tcp.test,%s,%d,%d,%d", target, h.AddrPort().Port(), priority, weight)
}

// SRV records give address, port and weight, of the lowest priority only. A name that does not exist, and a resolver that is
// silent, keep the last servers.
func TestSRVRecords(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	d := newDnsmasq(t)
	names := []string{"--host-record=one.test,127.0.0.1", "--host-record=two.test,127.0.0.1"}
	d.start(append(names, srv("one.test", hosts["A"], 1, 3), srv("two.test", hosts["B"], 1, 0), srv("one.test", hosts["C"], 2, 9))...)
	_, listen, a := weirtest.ServeAPI(t, found(fmt.Sprintf("type = \"dns\"\nname = \"_db._tcp.test\"\nresolvers = [%q]\ninterval = \"200ms\"\ntimeout = \"1s\"\n", d.addr)))
	one, two := fmt.Sprint("one.test:", hosts["A"].AddrPort().Port()), fmt.Sprint("two.test:", hosts["B"].AddrPort().Port())
	require.ElementsMatch(t, []string{one, two}, servers(a, 0))
	require.Equal(t, []any{3.0, 1.0, hosts["A"].Addr()}, []any{a.Server(one)["weight"], a.Server(two)["weight"], a.Server(one)["address"]})
	require.Equal(t, "AABA", weirtest.ReadSessions(t, listen, 4))
	d.start(append(names, srv("one.test", hosts["C"], 2, 9))...)
	waitServers(a, fmt.Sprint("one.test:", hosts["C"].AddrPort().Port()))
	d.start()
	waitProblem(a, "provider of level 1 (dns) lists no server: its last 1 server stays")
	d.stop()
	waitProblem(a, "SRV _db._tcp.test")
	require.Equal(t, "C", weirtest.ReadSessions(t, listen, 1))
	d.start(append(names, srv("one.test", hosts["A"], 1, 1), srv("none.test", hosts["B"], 1, 1))...)
	waitServers(a, one)
	waitProblem(a, "its name has no address")
}

// Address records give one server for each address. Many addresses come over TCP.
func TestAddressRecords(t *testing.T) {
	t.Parallel()
	d := newDnsmasq(t)
	var records []string
	var want []string
	for i := 1; i <= 100; i++ {
		records = append(records, fmt.Sprintf("--host-record=db.test,127.1.0.%d,fd00::%d", i, i))
		want = append(want, fmt.Sprintf("127.1.0.%d:3306", i), fmt.Sprintf("[fd00::%d]:3306", i))
	}
	d.start(records...)
	_, _, a := weirtest.ServeAPI(t, found(fmt.Sprintf("type = \"dns\"\nname = \"db.test.\"\nrecord = \"a\"\nport = 3306\nresolvers = [\"127.0.0.1:1\", %q]\ninterval = \"200ms\"\n", d.addr)))
	require.ElementsMatch(t, want, servers(a, 0))
	d.start("--host-record=db.test,127.1.0.7")
	waitServers(a, "127.1.0.7:3306")
	require.True(t, strings.Contains(a.MustRunCommand("discover", "c"), "dns A db.test."))
}
