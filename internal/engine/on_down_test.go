package engine_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// startGreeter starts a server that sends its name and then echoes, and returns it with its table in the configuration.
func startGreeter(t *testing.T, name string) (*nettest.Host, string) {
	t.Helper()
	h := nettest.Start(t, nettest.Greet(name, nettest.Echo))
	return h, h.Addr() + " name=" + name
}

// openSession opens a session and requires the server with that name.
func (s *script) openSession(name string) net.Conn {
	s.t.Helper()
	c := nettest.Dial(s.t, s.listen)
	require.Equal(s.t, name, read(s.t, c, 1))
	return c
}

// requireOpen requires that a session still relays.
func requireOpen(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := c.Write([]byte("x"))
	require.NoError(t, err)
	require.Equal(t, "x", read(t, c, 1))
}

// requireCut requires that a session is reset soon.
func (s *script) requireCut(c net.Conn, why string) {
	s.t.Helper()
	_, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(s.t, nettest.Reset, end)
	client := c.LocalAddr().String()
	nettest.Wait(s.t, time.Second, "the session's record", func() bool {
		return len(s.logged(&s.records, func(l line) bool { return l["client"] == client && l.end() == why })) == 1
	})
}

// on_down decides whether the sessions of a server that is down are cut. Those of other servers stay.
func TestOnDown(t *testing.T) {
	t.Parallel()
	for _, onDown := range []string{"keep", "close"} {
		t.Run(onDown, func(t *testing.T) {
			t.Parallel()
			a, aName := startGreeter(t, "A")
			_, b := startGreeter(t, "B")
			s := startScript(t, cluster("on_down = \""+onDown+"\"", aName+", "+b)+quick)
			onA, onB := s.openSession("A"), s.openSession("B")
			a.Down()
			s.countEvents("server_down A up→down")
			if onDown == "close" {
				s.requireCut(onA, "relay cut_server_down")
			} else {
				requireOpen(t, onA)
			}
			requireOpen(t, onB)
			a.Up()
			s.countEvents("server_up A down→up")
			requireOpen(t, onB)
			if onDown == "keep" {
				requireOpen(t, onA)
			}
		})
	}
}

// Maintenance cuts like a failed check. Drain, failing and unstable do not.
func TestOnDownStates(t *testing.T) {
	t.Parallel()
	t.Run("maint", func(t *testing.T) {
		_, a := startGreeter(t, "A")
		_, b := startGreeter(t, "B")
		s := startScript(t, cluster("on_down = \"close\"", a+", "+b))
		onA, onB := s.openSession("A"), s.openSession("B")
		s.reload(cluster("on_down = \"close\"", a+" state=drain, "+b))
		requireOpen(t, onA)
		s.reload(cluster("on_down = \"close\"", a+" state=maint, "+b))
		s.requireCut(onA, "relay cut_server_down")
		requireOpen(t, onB)
	})
	t.Run("maint with keep", func(t *testing.T) {
		_, a := startGreeter(t, "A")
		s := startScript(t, cluster("", a))
		onA := s.openSession("A")
		s.reload(cluster("", a+" state=maint"))
		requireOpen(t, onA)
	})
	t.Run("failing", func(t *testing.T) {
		a, aName := startGreeter(t, "A")
		_, b := startGreeter(t, "B")
		s := startScript(t, cluster("on_down = \"close\"\nmax_fails = 1", aName+", "+b))
		onA := s.openSession("A")
		a.Down()
		s.openSession("B")
		s.openSession("B")
		require.Equal(t, []string{"server_down A up→failing"}, s.events())
		requireOpen(t, onA)
	})
	t.Run("unstable", func(t *testing.T) {
		a, aName := startGreeter(t, "A")
		b, bName := startGreeter(t, "B")
		s := startScript(t, cluster("on_down = \"close\"", aName, bName)+quick)
		onA := s.openSession("A")
		b.Down()
		s.countEvents("server_down B up→down")
		a.Down()
		s.countEvents("cluster_empty A")
		requireOpen(t, onA)
		b.Up()
		s.countEvents("server_state A unstable→down")
		s.requireCut(onA, "relay cut_server_down")
	})
}

// A reload may set on_down and the state together.
func TestOnDownWithMaintInOneReload(t *testing.T) {
	t.Parallel()
	_, a := startGreeter(t, "A")
	_, b := startGreeter(t, "B")
	s := startScript(t, cluster("", a+", "+b))
	onA := s.openSession("A")
	s.reload(cluster("on_down = \"close\"", a+" state=maint, "+b))
	s.requireCut(onA, "relay cut_server_down")

	s = startScript(t, cluster("on_down = \"close\"", a+", "+b))
	onA = s.openSession("A")
	s.reload(cluster("on_down = \"keep\"", a+" state=maint, "+b))
	s.reload(cluster("on_down = \"keep\"", a+" state=maint, "+b))
	requireOpen(t, onA)
}

// Hundreds of sessions of a server are cut, and all resources of the engine are released.
func TestOnDownCutsMany(t *testing.T) {
	t.Parallel()
	a, aName := startGreeter(t, "A")
	s := startScript(t, cluster("on_down = \"close\"\nprotected = false", aName)+quick)
	var held []net.Conn
	for range 300 {
		held = append(held, s.openSession("A"))
	}
	a.Down()
	s.countEvents("server_down A up→down")
	for _, c := range held {
		_, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, nettest.Reset, end)
	}
	nettest.Wait(t, 5*time.Second, "no session to be left", func() bool { return s.e.Sessions() == 0 })
	require.Equal(t, "-", s.request())
	a.Up()
	s.countEvents("server_up A down→up")
	s.openSession("A")
}
