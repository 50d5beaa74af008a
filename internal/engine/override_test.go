package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
)

// server returns a server of the status document.
func (s *script) server(name string) status.Server {
	s.t.Helper()
	x, err := s.e.Explain("c", name)
	require.NoError(s.t, err)
	return x.Server
}

// layer returns a layer of a server, or the zero value.
func layer(s status.Server, name string) status.Layer {
	for _, l := range s.Layers {
		if l.Layer == name {
			return l
		}
	}
	return status.Layer{}
}

// An override survives reloads and is removed by null. The state of the file is below it.
func TestOverrideSurvivesReload(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	_, b := startNamed(t, "B")
	s := startScript(t, cluster("", a+", "+b))
	require.Equal(t, "ABAB", s.requests(4))
	require.NoError(t, s.e.Override("user test", "c", "A", []byte(`{"state": "drain", "reason": "new kernel"}`)))
	require.Equal(t, "BBBB", s.requests(4))
	seen := s.server("A")
	require.Equal(t, "drain", seen.State)
	require.Equal(t, "new kernel", seen.Reason)
	require.True(t, layer(seen, "override").Decides)
	require.NotNil(t, layer(seen, "override").At)
	require.Equal(t, "ready", layer(seen, "configuration").Says)

	s.reload(cluster("try = 3", a+" weight=2, "+b))
	require.Equal(t, "BBBB", s.requests(4))
	require.NoError(t, s.e.Override("user test", "c", "A", []byte(`{"state": null}`)))
	require.Equal(t, "up", s.server("A").State)
	require.Zero(t, layer(s.server("A"), "override"))
	require.Contains(t, s.requests(4), "A")

	require.NoError(t, s.e.Override("user test", "c", "B", []byte(`{"state": "maint"}`)))
	var reasons []string
	for _, l := range s.logged(&s.lines, func(l line) bool { return l["event"] == "server_state" }) {
		reasons = append(reasons, l["reason"])
	}
	require.Equal(t, []string{"new kernel", "set by an operator", "set by an operator"}, reasons)
}

// A server that leaves the file and returns has no override.
func TestOverrideEndsWithItsServer(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	_, b := startNamed(t, "B")
	s := startScript(t, cluster("", a+", "+b))
	require.NoError(t, s.e.Override("user test", "c", "A", []byte(`{"state": "maint"}`)))
	s.reload(cluster("", b))
	s.reload(cluster("", a+", "+b))
	require.Equal(t, "up", s.server("A").State)
}

func TestOverrideReadyBeatsFile(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	_, b := startNamed(t, "B")
	s := startScript(t, cluster("", a+" state=maint, "+b))
	require.Equal(t, "BB", s.requests(2))
	require.Equal(t, "state = maint", s.server("A").Reason)
	require.NoError(t, s.e.Override("user test", "c", "A", []byte(`{"state": "ready"}`)))
	require.Contains(t, s.requests(2), "A")
}

// A missing key keeps its value: a weight does not end a drain.
func TestPartialOverride(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	s := startScript(t, cluster("", a+" weight=3"))
	require.NoError(t, s.e.Override("user test", "c", "A", []byte(`{"state": "drain"}`)))
	require.NoError(t, s.e.Override("user test", "c", "A", []byte(`{"weight": 9, "max_sessions": 5}`)))
	seen := s.server("A")
	require.Equal(t, "drain", seen.State)
	require.Equal(t, 9, seen.Weight)
	require.Equal(t, 5, seen.MaxSessions)
	require.NoError(t, s.e.Override("user test", "c", "A", []byte(`{"state": null, "weight": null, "max_sessions": null}`)))
	seen = s.server("A")
	require.Equal(t, "up", seen.State)
	require.Equal(t, 3, seen.Weight)
	require.Zero(t, seen.MaxSessions)

	for text, field := range map[string]string{`{"weight": 300}`: "weight", `{"state": "gone"}`: "state", `{`: "", `{}`: ""} {
		var r *status.RequestError
		require.ErrorAs(t, s.e.Override("user test", "c", "A", []byte(text)), &r)
		require.Equal(t, status.Invalid, r.Kind)
		require.Equal(t, field, r.Field)
	}
	var r *status.RequestError
	require.ErrorAs(t, s.e.Override("user test", "c", "Z", []byte(`{"weight": 1}`)), &r)
	require.Equal(t, status.NotFound, r.Kind)
	require.ErrorAs(t, s.e.Override("user test", "d", "A", []byte(`{"weight": 1}`)), &r)
	require.Equal(t, "cluster", r.Field)
}

// Reported failures count like failed dials.
func TestFeedback(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	_, b := startNamed(t, "B")
	s := startScript(t, cluster("max_fails = 2", a+", "+b))
	for range 2 {
		require.NoError(t, s.e.Feedback("c", "A", []byte(`{"failed": true}`)))
	}
	seen := s.server("A")
	require.Equal(t, "failing", seen.State)
	require.NotNil(t, layer(seen, "passive").Until)
	require.True(t, layer(seen, "passive").Until.After(*layer(seen, "passive").At))
	require.Equal(t, "BBBB", s.requests(4))
}

func TestSessionsAreListedAndCut(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	s := startScript(t, cluster("", host.Addr()+" name=A"))
	c := nettest.Dial(t, s.listen)
	_, err := c.Write([]byte("x"))
	require.NoError(t, err)
	read(t, c, 1)
	list := s.e.ListSessions(status.SessionFilter{Limit: 10})
	require.Len(t, list, 1)
	require.Equal(t, c.LocalAddr().String(), list[0].Client)
	require.Equal(t, "A", list[0].Server)
	require.Equal(t, "1", list[0].Level)
	require.Equal(t, uint64(1), list[0].BytesUp)
	require.Len(t, s.e.ListSessions(status.SessionFilter{Limit: 10, Cluster: "c", Server: "A", Listener: "l"}), 1)
	require.Empty(t, s.e.ListSessions(status.SessionFilter{Limit: 10, Server: "B"}))
	doc := s.e.Status()
	require.Equal(t, 1, doc.Listeners[0].Sessions)
	require.Equal(t, 1, doc.Clusters[0].Levels[0].Servers[0].Sessions)

	require.Error(t, s.e.CutSession(list[0].ID+1))
	require.NoError(t, s.e.CutSession(list[0].ID))
	_, end := nettest.ReadToEnd(c, 3*time.Second)
	require.Equal(t, nettest.Reset, end)

	again := nettest.Dial(t, s.listen)
	nettest.Wait(t, 3*time.Second, "the session", func() bool { return s.e.Sessions() == 1 })
	n, err := s.e.CutServer("c", "A")
	require.NoError(t, err)
	require.LessOrEqual(t, n, 1)
	again.Close()
}
