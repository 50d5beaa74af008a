package engine_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// greets starts a server that says its name and then echoes, and returns it with how a configuration calls it.
func greets(t *testing.T, name string) (*nettest.Host, string) {
	t.Helper()
	h := nettest.Start(t, nettest.Greet(name, nettest.Echo))
	return h, h.Addr() + " name=" + name
}

// holds opens a session that must be with the server of that name.
func (s *script) holds(name string) net.Conn {
	s.t.Helper()
	c := nettest.Dial(s.t, s.listen)
	require.Equal(s.t, name, read(s.t, c, 1))
	return c
}

// goesOn checks that a session still works.
func goesOn(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := c.Write([]byte("x"))
	require.NoError(t, err)
	require.Equal(t, "x", read(t, c, 1))
}

// isCut checks that a session is reset soon.
func (s *script) isCut(c net.Conn, why string) {
	s.t.Helper()
	_, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(s.t, nettest.Reset, end)
	client := c.LocalAddr().String()
	nettest.Wait(s.t, time.Second, "the session's record", func() bool {
		return len(s.said(&s.ended, func(l line) bool { return l["client"] == client && l.end() == why })) == 1
	})
}

// The sessions of a server that its check finds down are cut or kept, as on_down says; those of others never mind.
func TestOnDown(t *testing.T) {
	t.Parallel()
	for _, onDown := range []string{"keep", "close"} {
		t.Run(onDown, func(t *testing.T) {
			t.Parallel()
			a, aName := greets(t, "A")
			_, b := greets(t, "B")
			s := play(t, cluster("on_down = \""+onDown+"\"", aName+", "+b)+quick)
			onA, onB := s.holds("A"), s.holds("B")
			a.Down()
			s.waits("server_down A up→down")
			if onDown == "close" {
				s.isCut(onA, "relay cut_server_down")
			} else {
				goesOn(t, onA)
			}
			goesOn(t, onB)
			a.Up()
			s.waits("server_up A down→up")
			goesOn(t, onB)
			if onDown == "keep" {
				goesOn(t, onA)
			}
		})
	}
}

// Maintenance cuts like a failed check, drain does not, and neither does a server that failed only to be dialled, or one
// that protection spares.
func TestOnDownStates(t *testing.T) {
	t.Parallel()
	t.Run("maint", func(t *testing.T) {
		_, a := greets(t, "A")
		_, b := greets(t, "B")
		s := play(t, cluster("on_down = \"close\"", a+", "+b))
		onA, onB := s.holds("A"), s.holds("B")
		s.reload(cluster("on_down = \"close\"", a+" state=drain, "+b))
		goesOn(t, onA)
		s.reload(cluster("on_down = \"close\"", a+" state=maint, "+b))
		s.isCut(onA, "relay cut_server_down")
		goesOn(t, onB)
	})
	t.Run("maint with keep", func(t *testing.T) {
		_, a := greets(t, "A")
		s := play(t, cluster("", a))
		onA := s.holds("A")
		s.reload(cluster("", a+" state=maint"))
		goesOn(t, onA)
	})
	t.Run("failing", func(t *testing.T) {
		a, aName := greets(t, "A")
		_, b := greets(t, "B")
		s := play(t, cluster("on_down = \"close\"\nmax_fails = 1", aName+", "+b))
		onA := s.holds("A")
		a.Down()
		s.holds("B")
		s.holds("B")
		require.Equal(t, []string{"server_down A up→failing"}, s.events())
		goesOn(t, onA)
	})
	t.Run("unstable", func(t *testing.T) {
		a, aName := greets(t, "A")
		b, bName := greets(t, "B")
		s := play(t, cluster("on_down = \"close\"", aName, bName)+quick)
		onA := s.holds("A")
		b.Down()
		s.waits("server_down B up→down")
		a.Down()
		s.waits("cluster_empty A")
		goesOn(t, onA)
		b.Up()
		s.waits("server_state A unstable→down")
		s.isCut(onA, "relay cut_server_down")
	})
}

// A reload may bring on_down and the state that it is about at once.
func TestOnDownWithMaintInOneReload(t *testing.T) {
	t.Parallel()
	_, a := greets(t, "A")
	_, b := greets(t, "B")
	s := play(t, cluster("", a+", "+b))
	onA := s.holds("A")
	s.reload(cluster("on_down = \"close\"", a+" state=maint, "+b))
	s.isCut(onA, "relay cut_server_down")

	s = play(t, cluster("on_down = \"close\"", a+", "+b))
	onA = s.holds("A")
	s.reload(cluster("on_down = \"keep\"", a+" state=maint, "+b))
	s.reload(cluster("on_down = \"keep\"", a+" state=maint, "+b))
	goesOn(t, onA)
}

// Hundreds of sessions of one server are cut together, and the engine's own are all given back.
func TestOnDownCutsMany(t *testing.T) {
	t.Parallel()
	a, aName := greets(t, "A")
	s := play(t, cluster("on_down = \"close\"\nprotected = false", aName)+quick)
	var held []net.Conn
	for range 300 {
		held = append(held, s.holds("A"))
	}
	a.Down()
	s.waits("server_down A up→down")
	for _, c := range held {
		_, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, nettest.Reset, end)
	}
	nettest.Wait(t, 5*time.Second, "no session to be left", func() bool { return s.e.Sessions() == 0 })
	require.Equal(t, "-", s.ask())
	a.Up()
	s.waits("server_up A down→up")
	s.holds("A")
}
