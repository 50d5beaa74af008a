// TCP sessions during upgrades.

package upgrade_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// steady is an endless session with an echo server: known bytes up, the same down, a piece at a time. longest is the
// longest time of a response.
func steady(c net.Conn, seed uint64, pause time.Duration, stop chan struct{}, longest *atomic.Int64) error {
	defer c.Close()
	up, down := nettest.Pattern(seed), nettest.Pattern(seed)
	piece, got, want := make([]byte, 3000), make([]byte, 3000), make([]byte, 3000)
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		case <-time.After(pause):
		}
		io.ReadFull(up, piece)
		c.SetDeadline(time.Now().Add(20 * time.Second))
		asked := time.Now()
		if _, err := c.Write(piece); err != nil {
			return fmt.Errorf("piece %d: %w", n, err)
		}
		if _, err := io.ReadFull(c, got); err != nil {
			return fmt.Errorf("piece %d: %w", n, err)
		}
		for took := int64(time.Since(asked)); ; {
			if was := longest.Load(); took <= was || longest.CompareAndSwap(was, took) {
				break
			}
		}
		io.ReadFull(down, want)
		if !bytes.Equal(got, want) {
			return fmt.Errorf("piece %d: %w", n, nettest.ErrCorrupt)
		}
	}
}

// slow reads a number of bytes at a time.
type slow struct {
	net.Conn
	n     int
	pause time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.Conn.Read(p[:min(len(p), s.n)])
}

// Many upgrades under load: no connection fails, no session breaks, no byte is lost, repeated or moved, whatever waits
// in buffers and pipes. At the end there is one process with as many descriptors as the first.
func TestUpgradesUnderLoad(t *testing.T) {
	const bulk = 12 << 20
	echo := nettest.Start(t, nettest.Echo)
	duplex := &nettest.Duplex{}
	double := nettest.Start(t, duplex.Handle)
	sends := nettest.Start(t, nettest.Send(77, bulk))
	late := nettest.Start(t, nettest.Pause(2*time.Second, nettest.Echo))
	socket := filepath.Join(weirtest.ShortTempDir(t), "l.sock")
	both, fast, stalled := nettest.Reserve(t), nettest.Reserve(t), nettest.Reserve(t)
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(echo.Addr()),
		More: weirtest.ListenerTables("both", both, double.Addr()) + weirtest.ListenerTables("sends", fast, sends.Addr()) + weirtest.ListenerTables("local", "unix:"+socket, echo.Addr()) +
			weirtest.ListenerTables("late", stalled, late.Addr()),
	}
	a := weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, a.AddTo(l.String()))

	stop := make(chan struct{})
	var wg sync.WaitGroup
	var broken, longest atomic.Int64
	check := func(what string, err error) {
		if err != nil && broken.Add(1) < 10 {
			t.Errorf("%s: %v", what, err)
		}
	}
	many := weirtest.Scaled(300)
	for i := range many {
		var c net.Conn = nettest.Dial(t, l.Listen)
		if i%10 == 0 {
			var err error
			c.Close()
			c, err = net.Dial("unix", socket)
			require.NoError(t, err)
		}
		wg.Go(func() {
			check("steady", steady(c, uint64(i), time.Duration(100+i%200)*time.Millisecond, stop, &longest))
		})
	}
	// Slow readers, with bytes in buffers and pipes; some have closed their own side.
	for i := range 8 {
		c := nettest.Dial(t, fast)
		if i%2 == 0 {
			require.NoError(t, c.CloseWrite())
		}
		wg.Go(func() {
			check("slow reader", nettest.Expect(&slow{c, 128 << 10, 30 * time.Millisecond}, 77, bulk))
			c.Close()
		})
	}
	// A server that does not read for a while, and small messages to it, one of them in a buffer.
	for i := range 8 {
		c := nettest.Dial(t, stalled)
		wg.Go(func() { check("late server", nettest.Exchange(c, uint64(i), 16<<20, 3000)) })
	}
	// Streams in both directions, one after the other, without waiting for the other side.
	for i := range 4 {
		wg.Go(func() {
			for n := uint64(0); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				c, err := nettest.TryDial(both)
				if err == nil {
					err = duplex.Run(c, uint64(i)<<32|n, 3<<20, int64(n%4)<<20)
				}
				check("duplex", err)
			}
		})
	}
	traffic := weirtest.StartLoad(t, l.Listen, 2, 50)
	for range weirtest.Scaled(5) {
		if gone := w.Upgrade(); gone > 2*time.Second && !weirtest.RaceEnabled {
			t.Errorf("the old process was there for another %v", gone)
		}
		require.Equal(t, int(w.Process()), a.PID())
	}
	for _, r := range w.UpgradeRecords() {
		t.Logf("moved %d, left %d, in %v ms", r.Int("sessions_moved"), r.Int("sessions_left"), r["took_ms"])
		require.Greater(t, r.Int("sessions_moved"), many)
	}
	close(stop)
	wg.Wait()
	traffic.Stop()
	t.Logf("%d short sessions; the longest time that an answer took: %v", traffic.Short.Load(), time.Duration(longest.Load()))
	require.Empty(t, duplex.Errs())
	require.Empty(t, w.Warnings())
}

// Open sessions of real clients continue: a transaction of MariaDB's client, and redis-cli's MONITOR.
func TestUpgradeKeepsRealClients(t *testing.T) {
	t.Parallel()
	db, redis := nettest.StartMariaDB(t), nettest.StartRedis(t)
	second := nettest.Reserve(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(db.Addr()), More: weirtest.ListenerTables("redis", second, redis.Addr())}
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, l.String())

	client := db.Client(l.Listen, "--unbuffered")
	stdin, err := client.StdinPipe()
	require.NoError(t, err)
	answers, err := client.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, client.Start())
	query := func(q, want string) {
		t.Helper()
		_, err := io.WriteString(stdin, q+";\n")
		require.NoError(t, err)
		require.Equal(t, want, await(t, answers, len(want)))
	}
	host, port, _ := net.SplitHostPort(second)
	monitor := exec.Command("redis-cli", "-h", host, "-p", port, "MONITOR")
	seen, err := monitor.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, monitor.Start())
	t.Cleanup(func() { monitor.Process.Kill(); monitor.Wait() })
	require.Equal(t, "OK\n", await(t, seen, 3))
	lines := bufio.NewScanner(seen)

	query("CREATE DATABASE shop; CREATE TABLE shop.item (id INT PRIMARY KEY) ENGINE=InnoDB; BEGIN; INSERT INTO shop.item VALUES (1); SELECT 'begun'", "begun\n")
	for i := range 4 {
		w.Upgrade()
		query(fmt.Sprintf("INSERT INTO shop.item VALUES (%d); SELECT COUNT(*) FROM shop.item", i+2), fmt.Sprintf("%d\n", i+2))
		out, err := exec.Command("redis-cli", "-h", host, "-p", port, "SET", "round", fmt.Sprint(i)).CombinedOutput()
		require.NoError(t, err)
		require.Equal(t, "OK\n", string(out))
		for want := fmt.Sprintf("\"SET\" \"round\" \"%d\"", i); ; { // whatever else redis-cli says when it connects
			require.True(t, lines.Scan(), "MONITOR has ended")
			if strings.HasSuffix(lines.Text(), want) {
				break
			}
		}
	}
	query("COMMIT; SELECT 'done'", "done\n")
	stdin.Close()
	require.NoError(t, client.Wait())
	out, err := db.Client(l.Listen, "-e", "SELECT COUNT(*) FROM shop.item").CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, "5\n", string(out))
	require.Empty(t, w.Warnings())
	monitor.Process.Kill()
	monitor.Wait()
}

// await reads a number of bytes within a time.
func await(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	got := make([]byte, n)
	done := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(r, got)
		done <- err
	}()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		require.Fail(t, "no answer")
	}
	return string(got)
}

// Sessions of removed listeners and servers continue until drain_timeout, as after a reload, and are then cut; other
// sessions are not affected.
func TestUpgradeWithChangedConfiguration(t *testing.T) {
	t.Parallel()
	weirtest.WithTime(t, 3*time.Second, upgradeChangesConfiguration)
}

func upgradeChangesConfiguration(t *testing.T, drain time.Duration) (inTime bool) {
	a, b := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	second, third := nettest.Reserve(t), nettest.Reserve(t)
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Runtime: fmt.Sprintf("drain_timeout = %q", drain), Levels: [][]string{{a.Addr() + " name=A"}, {b.Addr() + " name=B"}},
		More: weirtest.ListenerTables("second", second, b.Addr()),
	}
	api := weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, api.AddTo(l.String()))
	w.Baseline = nil
	onA, onSecond := nettest.Dial(t, l.Listen), nettest.Dial(t, second)
	require.Equal(t, "A", weirtest.ReadByte(t, onA))
	require.Equal(t, "B", weirtest.ReadByte(t, onSecond))
	l.Levels = [][]string{{a.Addr() + " name=new"}, {b.Addr() + " name=B"}}
	l.More = weirtest.ListenerTables("third", third, a.Addr())
	w.WriteConfig(api.AddTo(l.String()))
	begin := time.Now()
	w.Upgrade()
	onNew := nettest.Dial(t, l.Listen)
	require.Equal(t, "A", weirtest.ReadByte(t, onNew))
	require.Equal(t, "A", weirtest.DialAndReadByte(t, third))
	_, err := nettest.TryDial(second)
	require.Error(t, err)
	sessions := api.MustRunCommand("sessions")
	alive := errors.Join(weirtest.PingPong(onA), weirtest.PingPong(onSecond))
	if time.Since(begin) >= drain {
		return false
	}
	require.NoError(t, alive)
	require.Contains(t, sessions, "c/A")
	require.Contains(t, sessions, "second")
	for _, c := range []*net.TCPConn{onA, onSecond} {
		_, end := nettest.ReadToEnd(c, 20*time.Second+drain)
		require.Equal(t, nettest.Reset, end)
		require.Greater(t, time.Since(begin), drain-5*time.Millisecond)
	}
	require.NoError(t, weirtest.PingPong(onNew))
	require.Equal(t, "relay cut_server_removed", w.SessionRecord(onA).Termination())
	require.Contains(t, w.SessionRecord(onSecond).Termination(), "removed") // its server has left too
	return true
}

// The first byte of a server may come after an upgrade, also in a session of a listener that has left or has another cluster now.
func TestFirstByteAfterUpgradeInSessionOfRemovedListener(t *testing.T) {
	t.Parallel()
	host, other := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.Echo)
	before, with := nettest.Reserve(t), nettest.Reserve(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Cluster: `balance = "least_time"`, Levels: weirtest.OneLevel(host.Addr() + " name=A")}
	listener := func(name, address, cluster string) string {
		return fmt.Sprintf("[[listener]]\nname = %q\naddress = %q\ncluster = %q\n", name, address, cluster)
	}
	cluster := func(name string) string {
		return fmt.Sprintf("[cluster.%s]\nbalance = \"least_time\"\n[[cluster.%[1]s.level]]\nservers = [%q]\n", name, other.Addr())
	}
	moved := nettest.Reserve(t)
	config := func(more ...string) string {
		c := l
		c.More = strings.Join(more, "") + cluster("kept")
		return c.String()
	}
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, config(listener("before", before, "gone"), listener("with", with, "c"), listener("moved", moved, "gone"), cluster("gone")))
	var clients []*net.TCPConn
	for _, at := range []string{before, with, moved} {
		clients = append(clients, nettest.Dial(t, at))
		nettest.Wait(t, 10*time.Second, "the session to be connected", func() bool { return host.Accepted()+other.Accepted() == len(clients) })
	}
	w.Reload(config(listener("with", with, "c"), listener("moved", moved, "kept")))
	w.WriteConfig(config(listener("moved", moved, "kept")))
	w.Upgrade()
	for _, c := range clients {
		require.NoError(t, weirtest.PingPong(c))
	}
	require.NoError(t, weirtest.PingPong(nettest.Dial(t, l.Listen)))
	w.Baseline = nil
}

// Timeouts do not restart: a session that was idle before an upgrade is idle after it.
func TestUpgradeKeepsDeadlines(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Listen: nettest.Reserve(t), Listener: "client_idle_timeout = \"6s\"\nhalf_close_timeout = \"2s\"", Levels: weirtest.OneLevel(host.Addr())}
	mute := nettest.Start(t, nettest.Silent)
	second := nettest.Reserve(t)
	l.More = "[[listener]]\nname = \"m\"\naddress = \"" + second + "\"\ncluster = \"m\"\nhalf_close_timeout = \"6s\"\n" +
		"[cluster.m]\n[[cluster.m.level]]\nservers = [\"" + mute.Addr() + "\"]\n"
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, l.String())
	idle, half := nettest.Dial(t, l.Listen), nettest.Dial(t, second)
	require.NoError(t, weirtest.PingPong(idle))
	require.NoError(t, weirtest.WriteText(half, "x"))
	require.NoError(t, half.CloseWrite())
	time.Sleep(3 * time.Second)
	w.Upgrade()
	for c, end := range map[*net.TCPConn]string{idle: "relay client_idle", half: "relay half_close_timeout"} {
		_, how := nettest.ReadToEnd(c, 20*time.Second)
		require.Equal(t, nettest.Reset, how)
		r := w.SessionRecord(c)
		require.Equal(t, end, r.Termination())
		require.GreaterOrEqual(t, r["duration_ms"], 5990.0, "%v", r)
		require.Less(t, r["duration_ms"], 6000.0+2900, "a time that began again at the upgrade: %v", r)
	}
}
