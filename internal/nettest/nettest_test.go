package nettest_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

func TestMain(m *testing.M) { os.Exit(nettest.Run(m)) }

// Every handler behaves as documented, as seen by a client.
func TestHandlers(t *testing.T) {
	t.Parallel()
	dial := func(t *testing.T, h nettest.Handler) (*net.TCPConn, *nettest.Host) {
		host := nettest.Start(t, h)
		return nettest.Dial(t, host.Addr()), host
	}
	t.Run("echo", func(t *testing.T) {
		c, _ := dial(t, nettest.Echo)
		require.NoError(t, nettest.Exchange(c, 7, 300_000, 5000))
	})
	t.Run("silent", func(t *testing.T) {
		c, host := dial(t, nettest.Silent)
		c.Write([]byte("hello"))
		c.CloseWrite()
		_, end := nettest.ReadToEnd(c, 100*time.Millisecond)
		require.Equal(t, nettest.Timeout, end)
		require.Equal(t, 1, host.Open())
	})
	t.Run("say", func(t *testing.T) {
		c, _ := dial(t, nettest.SendText("A"))
		data, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, "A", string(data))
		require.Equal(t, nettest.EOF, end)
	})
	t.Run("greet", func(t *testing.T) {
		c, _ := dial(t, nettest.Greet("hi", nettest.Echo))
		c.Write([]byte("!"))
		c.CloseWrite()
		data, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, "hi!", string(data))
		require.Equal(t, nettest.EOF, end)
	})
	t.Run("send", func(t *testing.T) {
		c, _ := dial(t, nettest.Send(3, 100_000))
		require.NoError(t, nettest.Expect(c, 3, 100_000))
	})
	t.Run("reset after sending", func(t *testing.T) {
		c, _ := dial(t, nettest.ResetAfter(1000, 50*time.Millisecond))
		data, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Len(t, data, 1000)
		require.Equal(t, nettest.Reset, end)
	})
	t.Run("reset after reading", func(t *testing.T) {
		c, _ := dial(t, nettest.ResetAfterReading(5, 0))
		c.Write([]byte("hello"))
		_, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, nettest.Reset, end)
	})
	t.Run("count to EOF", func(t *testing.T) {
		c, _ := dial(t, nettest.CountToEOF(50*time.Millisecond))
		c.Write(make([]byte, 1234))
		c.CloseWrite()
		data, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, "1234", string(data))
		require.Equal(t, nettest.EOF, end)
	})
	t.Run("trickle", func(t *testing.T) {
		c, _ := dial(t, nettest.TrickleAfterEOF(3, time.Millisecond))
		c.CloseWrite()
		data, _ := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, "...", string(data))
	})
	t.Run("never read", func(t *testing.T) {
		c, _ := dial(t, nettest.NeverRead)
		c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		_, err := c.Write(make([]byte, 64<<20))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}

// A recorder records the client, the received bytes, and whether the connection ended with a FIN or a reset.
func TestRecorder(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{Banner: "hello", CloseSide: true, Keep: 4}
	host := nettest.Start(t, rec.Handle)

	c := nettest.Dial(t, host.Addr())
	data, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(t, "hello", string(data))
	require.Equal(t, nettest.EOF, end)
	c.Write([]byte("abcdef"))
	c.CloseWrite()
	v := rec.WaitEnd(t, 0, 5*time.Second)
	require.Equal(t, "abcd", string(v.Data))
	require.EqualValues(t, 6, v.Bytes)
	require.Equal(t, nettest.EOF, v.End)
	require.Equal(t, c.LocalAddr().String(), v.From.String())

	nettest.Abort(nettest.Dial(t, host.Addr()))
	require.Equal(t, nettest.Reset, rec.WaitEnd(t, 1, 5*time.Second).End)
	require.Equal(t, 2, host.Accepted())
}

// A host that goes down refuses and keeps its open connections; back up it serves again at the same address.
func TestHostGoesDownAndUp(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	open := nettest.Dial(t, host.Addr())
	nettest.Wait(t, 5*time.Second, "the connection to be served", func() bool { return host.Open() == 1 })

	host.Down()
	_, err := nettest.TryDial(host.Addr())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NoError(t, nettest.Exchange(open, 1, 1000, 100))

	host.Up()
	require.NoError(t, nettest.Exchange(nettest.Dial(t, host.Addr()), 1, 1000, 100))

	reset := nettest.Dial(t, host.Addr())
	nettest.Wait(t, 5*time.Second, "the connection to be served", func() bool { return host.Open() == 1 })
	host.Reset()
	_, end := nettest.ReadToEnd(reset, 5*time.Second)
	require.Equal(t, nettest.Reset, end)
}

// A reserved port refuses connections, is reserved once, and can be listened on.
func TestReserve(t *testing.T) {
	t.Parallel()
	addr := nettest.Reserve(t)
	_, err := nettest.TryDial(addr)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	nettest.StartAt(t, addr, nettest.SendText("x"))
	data, _ := nettest.ReadToEnd(nettest.Dial(t, addr), 5*time.Second)
	require.Equal(t, "x", string(data))

	var low, high int
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	require.NoError(t, err)
	fmt.Sscan(string(text), &low, &high)
	seen := map[uint16]bool{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				port := netip.MustParseAddrPort(nettest.Reserve(t)).Port()
				mu.Lock()
				if seen[port] || int(port) >= low && int(port) <= high {
					t.Errorf("port %d, seen before: %v, the kernel's own: %d-%d", port, seen[port], low, high)
				}
				seen[port] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
	for port := range seen {
		nettest.StartAt(t, net.JoinHostPort("127.0.0.1", itoa(port)), nettest.Echo).Down()
	}

	first := nettest.ReserveRange(t, 3)
	for i := range uint16(3) {
		nettest.StartAt(t, net.JoinHostPort("127.0.0.1", itoa(first.Port()+i)), nettest.Echo)
	}
	nettest.StartAt(t, nettest.ReserveOn(t, "::1"), nettest.Echo)
}

func itoa(n uint16) string {
	var b [5]byte
	i := len(b)
	for ; i == len(b) || n > 0; n /= 10 {
		i--
		b[i] = byte('0' + n%10)
	}
	return string(b[i:])
}

// Dialling a host whose accept queue is full hangs.
func TestFullBacklog(t *testing.T) {
	t.Parallel()
	addr := nettest.FullBacklog(t)
	_, err := (&net.Dialer{Timeout: 200 * time.Millisecond}).Dial("tcp", addr)
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout())
}

// Expect notices a wrong byte, a missing end and extra bytes, and distinguishes them from errors of the reader.
func TestExpect(t *testing.T) {
	t.Parallel()
	read := func(n int64) []byte {
		data, err := io.ReadAll(io.LimitReader(nettest.Pattern(5), n))
		require.NoError(t, err)
		return data
	}
	check := func(data []byte) error { return nettest.Expect(strings.NewReader(string(data)), 5, 1000) }
	require.NoError(t, check(read(1000)))
	require.ErrorIs(t, check(read(999)), nettest.ErrCorrupt)
	require.ErrorIs(t, check(read(1001)), nettest.ErrCorrupt)
	wrong := read(1000)
	wrong[500] ^= 1
	require.ErrorIs(t, check(wrong), nettest.ErrCorrupt)
	require.ErrorContains(t, check(wrong), "at 500")
	broken := errors.New("broken")
	err := nettest.Expect(io.MultiReader(strings.NewReader(string(read(10))), brokenReader{broken}), 5, 1000)
	require.ErrorIs(t, err, broken)
	require.NotErrorIs(t, err, nettest.ErrCorrupt)
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

// Both directions of a duplex session are checked, whichever ends first.
func TestDuplex(t *testing.T) {
	t.Parallel()
	d := &nettest.Duplex{MaxChunk: 3000}
	host := nettest.Start(t, d.Handle)
	for i, size := range [][2]int64{{0, 0}, {1, 1 << 20}, {1 << 20, 0}, {200_000, 300_000}} {
		require.NoError(t, d.Run(nettest.Dial(t, host.Addr()), uint64(i), size[0], size[1]))
	}
	nettest.Wait(t, 5*time.Second, "the host's verdicts", func() bool { return d.Good() == 4 })
	require.Empty(t, d.Errs())
}

// A namespace has its own loopback, filters that drop or reject a dial, and a veth pair to another one.
func TestNamespace(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	host := ns.Start("127.0.0.1:7000", nettest.Echo)
	require.NoError(t, nettest.Exchange(ns.Dial("127.0.0.1:7000"), 1, 1000, 100))
	_, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp", host.Addr())
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "no listener outside")

	open := ns.Dial("127.0.0.1:7000")
	ns.DropSYN(7000)
	var dropped error
	ns.Do(func() { _, dropped = (&net.Dialer{Timeout: 200 * time.Millisecond}).Dial("tcp", host.Addr()) })
	var timeout net.Error
	require.ErrorAs(t, dropped, &timeout)
	require.True(t, timeout.Timeout())
	require.NoError(t, nettest.Exchange(open, 2, 1000, 100), "what is established goes on")

	ns.ClearFilter()
	ns.Reject(7000, "icmp host-unreachable")
	_, err = ns.TryDial("127.0.0.1:7000")
	require.ErrorIs(t, err, syscall.EHOSTUNREACH)
	ns.ClearFilter()
	ns.Reject(7000, "tcp reset")
	_, err = ns.TryDial("127.0.0.1:7000")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)

	ns.Sysctl("ipv4/ip_local_port_range", "40000 40031")
	other := nettest.NewNamespace(t)
	ns.Connect(other, "10.99.0.1", "10.99.0.2")
	other.Start("10.99.0.2:7001", nettest.Echo)
	c := ns.Dial("10.99.0.2:7001")
	require.GreaterOrEqual(t, c.LocalAddr().(*net.TCPAddr).Port, 40000)
	require.NoError(t, nettest.Exchange(c, 3, 1000, 100))
}

// A process's descriptors, threads, memory and processor time can be read.
func TestProcess(t *testing.T) {
	self := nettest.Self()
	before := self.Descriptors()
	listening := self.Listening()
	ln := nettest.Listen(t, "127.0.0.1:0")
	require.Equal(t, listening+1, self.Listening())
	require.Contains(t, strings.Join(self.Descriptors().Since(before), " "), "socket:")
	require.Positive(t, self.Descriptors().Kinds()["socket"])
	ln.Close()

	cmd := exec.Command("sleep", "60")
	require.NoError(t, cmd.Start())
	p := nettest.Process(cmd.Process.Pid)
	nettest.Wait(t, 5*time.Second, "the program", func() bool { return p.RSS(t) > 0 })
	require.True(t, p.Alive())
	require.Equal(t, 1, p.Threads(t))
	require.Positive(t, p.PSS(t))
	require.Less(t, p.CPUTime(t), time.Second)
	require.GreaterOrEqual(t, p.Descriptors().Kinds()["file"], 3)
	cmd.Process.Kill()
	nettest.Wait(t, 5*time.Second, "its end", func() bool { return !p.Alive() })
	cmd.Wait()
	require.Empty(t, p.Descriptors())
}

// The real Redis replies, ends with its connections when killed, and restarts at its address.
func TestRedis(t *testing.T) {
	t.Parallel()
	r := nettest.StartRedis(t)
	c := nettest.Dial(t, r.Addr())
	c.Write([]byte("SET a 1\r\nGET a\r\nQUIT\r\n"))
	data, _ := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(t, "+OK\r\n$1\r\n1\r\n+OK\r\n", string(data))
	r.Kill()
	_, err := nettest.TryDial(r.Addr())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	r.Up()
	nettest.Dial(t, r.Addr())
}

// The real MariaDB accepts logins and queries.
func TestMariaDB(t *testing.T) {
	t.Parallel()
	m := nettest.StartMariaDB(t)
	out, err := m.Client(m.Addr(), "-e", "SELECT 6 * 7").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "42\n", string(out))
	m.Kill()
	m.Up()
}

// A stop of the whole process counts as a stall of the machine; sleeping does not.
func TestStalledSince(t *testing.T) {
	begin := time.Now()
	time.Sleep(200 * time.Millisecond)
	usual := nettest.StalledSince(begin)
	again := exec.Command("sh", "-c", "kill -STOP $1; sleep 0.3; kill -CONT $1", "sh", strconv.Itoa(os.Getpid()))
	stopped := time.Now()
	require.NoError(t, again.Run())
	require.Greater(t, nettest.StalledSince(stopped), 250*time.Millisecond)
	require.GreaterOrEqual(t, nettest.StalledSince(begin), usual+250*time.Millisecond)
	require.Less(t, nettest.Elapsed(stopped), time.Since(stopped)-250*time.Millisecond)
	require.Less(t, nettest.StalledSince(time.Now()), 100*time.Millisecond)
}

// Programs that need more processors than there are have a scheduling delay.
func TestSchedulingDelay(t *testing.T) {
	total := func() (d time.Duration) { return }
	for range runtime.NumCPU() + 2 {
		c := exec.Command("sh", "-c", "while :; do :; done")
		require.NoError(t, c.Start())
		defer func() { c.Process.Kill(); c.Wait() }()
		before := total
		total = func() time.Duration { return before() + nettest.Process(c.Process.Pid).SchedulingDelay() }
	}
	nettest.Wait(t, 10*time.Second, "a delay", func() bool { return total() > 100*time.Millisecond })
}
