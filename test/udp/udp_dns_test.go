// Real DNS servers behind weir; one is killed and restarted under load.

package udp_test

import (
	"bytes"
	wire "encoding/binary"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// dnsmasq runs a DNS server with one name, until stop is called or the test ends.
func dnsmasq(t *testing.T, addr, answer string) (stop func()) {
	t.Helper()
	ip, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--no-resolv", "--no-hosts",
		"--bind-interfaces", "--listen-address="+ip, "--port="+port, "--address=/weir.test/"+answer, "--log-facility=/dev/null")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start(), "install dnsmasq to run this test")
	stop = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	t.Cleanup(stop)
	nettest.Wait(t, 10*time.Second, "dnsmasq", func() bool {
		c, err := nettest.TryDialDatagrams("", addr)
		require.NoError(t, err)
		defer c.Close()
		got, err := query(c, 1, 100*time.Millisecond)
		return err == nil && got == answer
	})
	return stop
}

// query is a query for the address of weir.test.
func query(c *net.UDPConn, id uint16, within time.Duration) (string, error) {
	q := wire.BigEndian.AppendUint16(nil, id)
	q = append(q, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	q = append(q, "\x04weir\x04test\x00\x00\x01\x00\x01"...)
	if _, err := c.Write(q); err != nil {
		return "", err
	}
	c.SetReadDeadline(time.Now().Add(within))
	b := make([]byte, 512)
	n, err := c.Read(b)
	for err == nil && n > 2 && wire.BigEndian.Uint16(b) != id { // too late, to an earlier one
		n, err = c.Read(b)
	}
	if err != nil {
		return "", err
	}
	if n < len(q)+4 || wire.BigEndian.Uint16(b) != id || !bytes.Equal(b[12:len(q)], q[12:]) {
		return "", fmt.Errorf("an answer to something else: %x", b[:n])
	}
	return net.IP(b[n-4 : n]).String(), nil
}

func TestUDPRealDNS(t *testing.T) {
	t.Parallel()
	first, second := nettest.ReserveDatagrams(t), nettest.ReserveDatagrams(t)
	stop := dnsmasq(t, first, "192.0.2.1")
	dnsmasq(t, second, "192.0.2.2")
	l := weirtest.Config{Levels: weirtest.OneLevel(first, second), Listener: "responses = 1\nflow_timeout = \"4s\"", Cluster: "max_fails = 2\nfail_timeout = \"500ms\"",
		Checks: "[[cluster.c.check]]\ntype = \"udp\"\nsend = \"0x000101000001000000000000047765697204746573740000010001\"\nexpect = \"0xc0000202\"\ninterval = \"500ms\"\ntimeout = \"500ms\"\nservers = [\"" + second + "\"]\n"}.UDP(t)
	_, addr := weirtest.ServeUDP(t, l)
	const workers = 4
	var asked, lost atomic.Int64
	var seen [3]atomic.Int64
	done := make(chan struct{})
	var group weirtest.Group
	for i := range workers {
		c := nettest.DialDatagrams(t, "", addr)
		group.Go(func() error {
			for id := uint16(i); ; id += workers {
				select {
				case <-done:
					return nil
				default:
				}
				answer, err := query(c.UDPConn, id, 3*time.Second)
				asked.Add(1)
				switch {
				case err == nil:
					seen[answer[len(answer)-1]-'0'].Add(1)
				case strings.Contains(err.Error(), "timeout"):
					lost.Add(1)
				default:
					return err
				}
				time.Sleep(500 * time.Microsecond)
			}
		})
	}
	more := func(what string, n *atomic.Int64) {
		before := n.Load()
		nettest.Wait(t, 20*time.Second, what, func() bool { return n.Load() > before+50 })
	}
	more("answers of the first", &seen[1])
	more("answers of the second", &seen[2])
	require.Zero(t, lost.Load())
	stop()
	more("answers of the second alone", &seen[2])
	dnsmasq(t, first, "192.0.2.1")
	more("answers of the first again", &seen[1])
	close(done)
	require.NoError(t, group.Wait())
	// Queries that the killed server had received get no response: at most one per client.
	require.LessOrEqual(t, int(lost.Load()), workers, "of %d", asked.Load())
}
