package tcp_test

import (
	"fmt"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// With fewer descriptors than clients, the sessions that fit are served normally, the others cost neither CPU time nor
// a flood of log lines, and new clients are served as soon as descriptors are free.
func TestDescriptorShortage(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(map[bool]string{false: "known from the start", true: "limit lowered later"}[late], func(t *testing.T) {
			host := nettest.Start(t, nettest.Greet("x", nettest.Echo))
			l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
			var w *weirtest.Weir
			if late {
				w = weirtest.Start(t, l.String())
				out, err := exec.Command("prlimit", "--pid", fmt.Sprint(w.Cmd.Process.Pid), "--nofile=256:256").CombinedOutput()
				require.NoError(t, err, "%s", out)
			} else {
				w = weirtest.Options{DescriptorLimit: 256}.Start(t, l.String())
			}
			var clients, served, waiting []*net.TCPConn
			refused := 0
			for range 400 {
				c, err := nettest.TryDial(l.Listen)
				if err != nil {
					require.Equal(t, nettest.Reset, nettest.StreamEndOf(err))
					refused++
					continue
				}
				t.Cleanup(func() { c.Close() })
				clients = append(clients, c)
			}
			least := 50 // 256 descriptors carry more sessions
			if late {
				least = 1 // accepting may leave too few descriptors for dialling
			}
			nettest.Wait(t, 10*time.Second, "sessions", func() bool { return host.Accepted() >= least })
			deadline := time.Now().Add(time.Second)
			for _, c := range clients {
				c.SetReadDeadline(deadline)
				if _, err := c.Read(make([]byte, 1)); err == nil {
					served = append(served, c)
				} else {
					waiting = append(waiting, c)
				}
				c.SetReadDeadline(time.Time{})
			}
			t.Logf("%d served, %d refused, %d waiting or closed", len(served), refused, len(waiting))
			require.GreaterOrEqual(t, len(served), least)
			require.Less(t, len(served), 130)

			stay := served[:min(len(served), 20)]
			lines, cpu := len(w.Warnings()), w.Process().CPUTime(t)
			const span = 2 * time.Second
			begin := time.Now()
			for ; time.Since(begin) < span; time.Sleep(100 * time.Millisecond) {
				for _, c := range stay {
					require.NoError(t, weirtest.PingPong(c))
				}
			}
			took := time.Since(begin)
			require.Less(t, w.Process().CPUTime(t)-cpu, took/5)
			require.LessOrEqual(t, len(w.Warnings())-lines, 2+int(took.Seconds()), "lines in %v", took)

			for _, c := range waiting {
				c.Close()
			}
			for _, c := range served[len(stay):] {
				c.Close()
			}
			nettest.Wait(t, weirtest.Bound(1500*time.Millisecond), "a new client to be served", func() bool {
				c, ok := weirtest.DialServed(t, l.Listen, 500*time.Millisecond)
				if c != nil {
					c.Close()
				}
				return ok
			})
			for _, c := range stay {
				require.NoError(t, weirtest.PingPong(c))
			}
		})
	}
}

// Accept errors that last for a while delay clients by little more than that while: listen sockets are polled again.
func TestAcceptErrorsRecover(t *testing.T) {
	t.Parallel()
	for _, errno := range []string{"EMFILE", "EPERM"} {
		t.Run(errno, func(t *testing.T) {
			t.Parallel()
			host := nettest.Start(t, nettest.Greet("x", nettest.Echo))
			w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
			_, heal := w.InjectErrors("accept4", errno)
			begin := time.Now()
			c, ok := weirtest.DialServed(t, addr, 20*time.Second)
			require.True(t, ok)
			c.Close()
			took := time.Since(begin)
			failed := heal()
			require.GreaterOrEqual(t, failed, 50)
			if !weirtest.RaceEnabled {
				require.Less(t, took, weirtest.Bound(time.Second+time.Duration(failed)*20*time.Millisecond), "%d errors", failed)
			}
			require.LessOrEqual(t, len(w.Warnings()), 2+int(time.Since(begin).Seconds()))
		})
	}
}

// With fewer ports than sessions, the sessions that find a port are served and the others end within connect_timeout.
// No failure is counted for the server, and service recovers as soon as ports are free.
func TestPortShortage(t *testing.T) {
	t.Parallel()
	ns, clients := nettest.NewNamespace(t), nettest.NewNamespace(t)
	ns.Connect(clients, "10.99.0.1", "10.99.0.2")
	ns.Sysctl("ipv4/ip_local_port_range", "40000 40031")
	host := ns.Start("127.0.0.1:7001", nettest.Greet("x", nettest.Echo))
	w := weirtest.Options{Namespace: ns}.Start(t, weirtest.Config{
		Listen: "10.99.0.1:7000", Cluster: "connect_timeout = \"1s\"\nmax_fails = 1\nfail_timeout = \"60s\"",
		Levels: weirtest.OneLevel("127.0.0.1:7001"),
	}.String())
	var served []*net.TCPConn
	cpu := w.Process().CPUTime(t)
	begin := time.Now()
	for range 64 {
		c, err := clients.TryDial("10.99.0.1:7000")
		if err == nil {
			t.Cleanup(func() { c.Close() })
			c.SetReadDeadline(time.Now().Add(weirtest.Bound(2 * time.Second)))
			_, err = c.Read(make([]byte, 1))
		}
		if err == nil {
			served = append(served, c)
		} else {
			require.NotEqual(t, nettest.Timeout, nettest.StreamEndOf(err), "no client is left waiting")
		}
	}
	require.Len(t, served, 32)
	require.Less(t, w.Process().CPUTime(t)-cpu, 100*time.Millisecond+time.Since(begin)/5)
	for _, c := range served[:10] {
		c.SetReadDeadline(time.Time{})
		require.NoError(t, weirtest.PingPong(c))
		nettest.Abort(c) // a reset leaves no TIME_WAIT on either side
	}
	nettest.Wait(t, 5*time.Second, "the sessions' end", func() bool { return host.Open() == 22 })
	c := clients.Dial("10.99.0.1:7000")
	c.SetReadDeadline(time.Now().Add(weirtest.Bound(2 * time.Second)))
	require.Equal(t, "x", weirtest.ReadByte(t, c))
}

// The limit on all sessions counts over all listeners; clients over it are closed immediately.
func TestMaxSessions(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("x", nettest.Echo))
	second := nettest.Reserve(t)
	_, addr := weirtest.Serve(t, weirtest.Config{
		Runtime: "max_sessions = 20", Levels: weirtest.OneLevel(host.Addr()), More: weirtest.ListenerTables("second", second, host.Addr()),
	})
	var served []*net.TCPConn
	for i := range 30 {
		begin := time.Now()
		c, ok := weirtest.DialServed(t, []string{addr, second}[i%2], 5*time.Second)
		require.Less(t, nettest.Elapsed(begin), 3*time.Second) // how soon exactly is TestRejectionsAreImmediate's to say
		if ok {
			served = append(served, c)
		}
	}
	require.Len(t, served, 20)
	for i := range 5 {
		served[i].Close()
		nettest.Wait(t, 5*time.Second, "room for one", func() bool {
			_, ok := weirtest.DialServed(t, second, 5*time.Second)
			return ok
		})
	}
	_, ok := weirtest.DialServed(t, addr, 5*time.Second)
	require.False(t, ok)
}

// The slot of a session is free a moment after its client has seen the end of it.
func TestSlotIsFreedImmediately(t *testing.T) { // alone: it measures time
	host := nettest.Start(t, nettest.SendText("x"))
	_, addr := weirtest.Serve(t, weirtest.Config{Cluster: "max_sessions = 1", Levels: weirtest.OneLevel(host.Addr())})
	for range weirtest.Scaled(500) {
		nettest.Wait(t, weirtest.Bound(200*time.Millisecond), "room", func() bool {
			text, _ := weirtest.ReadSession(addr)
			return text == "x"
		})
	}
}
