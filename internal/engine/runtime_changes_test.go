package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
)

// serverNames returns the servers of cluster c, level by level, with a plus after those added at run time.
func (s *script) serverNames() string {
	text := ""
	for _, c := range s.e.Status().Clusters {
		if c.Name != "c" {
			continue
		}
		for i, l := range c.Levels {
			if i > 0 {
				text += "|"
			}
			for _, server := range l.Servers {
				text += server.Name
				if server.Origin == status.OriginAPI {
					text += "+"
				}
			}
		}
	}
	return text
}

func (s *script) addServer(h *nettest.Host, name, more string) error {
	got, err := s.e.AddServer(status.RuntimeChange{}, "c", fmt.Appendf(nil, `{"address": %q, "name": %q%s}`, h.Addr(), name, more))
	if err == nil {
		require.Equal(s.t, name, got)
	}
	return err
}

// requireRequestError requires a RequestError and returns it.
func requireRequestError(t *testing.T, err error) status.RequestError {
	t.Helper()
	var r *status.RequestError
	require.True(t, errors.As(err, &r), "%v", err)
	return *r
}

// An added server serves at once and survives a reload. Once the file names it, it belongs to the file.
func TestAddedServer(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	host, b := startNamed(t, "B")
	s := startScript(t, cluster("", a))
	require.NoError(t, s.addServer(host, "B", ""))
	require.Equal(t, "AB+", s.serverNames())
	require.ElementsMatch(t, []byte("AABB"), []byte(s.requests(4)))
	require.Equal(t, "operator", layer(s.server("B"), "configuration").By)

	s.reload(cluster("try = 2", a))
	require.Equal(t, "AB+", s.serverNames())
	s.reload(cluster("try = 2", a+", "+b))
	require.Equal(t, "AB", s.serverNames(), "the file's from now on")
	require.Len(t, s.logged(&s.lines, func(l line) bool { return l["object"] == "c/B" }), 1)
	s.reload(cluster("try = 2", a))
	require.Equal(t, "A", s.serverNames())
}

func TestAddServerErrors(t *testing.T) {
	t.Parallel()
	host, a := startNamed(t, "A")
	s := startScript(t, cluster("", a, a+" weight=3"))
	r := requireRequestError(t, s.addServer(host, "A", ""))
	require.Equal(t, status.Conflict, r.Kind)
	r = requireRequestError(t, s.addServer(host, "B", `, "level": 3`))
	require.Equal(t, "level", r.Field)
	r = requireRequestError(t, s.addServer(host, "B", `, "weight": "x"`))
	require.Equal(t, status.RequestError{Field: "weight", Text: `want an integer from 0 to 256, got "x"`}, r)
	_, err := s.e.AddServer(status.RuntimeChange{}, "d", []byte(`"10.0.0.1:1"`))
	require.Equal(t, status.NotFound, requireRequestError(t, err).Kind)
	_, err = s.e.AddServer(status.RuntimeChange{}, "c", fmt.Appendf(nil, "%q", s.listen))
	require.Contains(t, requireRequestError(t, err).Text, "points back to listener l")
	_, err = s.e.AddServer(status.RuntimeChange{}, "c", []byte(`"no.such.name:1"`))
	require.Equal(t, status.Unprocessable, requireRequestError(t, err).Kind)
	require.Equal(t, "A|A", s.serverNames())

	s.reload(cluster("", a) + fmt.Sprintf("[[listener]]\nname = \"u\"\naddress = %q\nprotocol = \"udp\"\ncluster = \"u\"\n"+
		"[[cluster.u.level]]\nservers = []\n", nettest.ReserveDatagrams(t)))
	_, err = s.e.AddServer(status.RuntimeChange{}, "u", []byte(`"10.0.0.1:1 send_proxy=v1"`))
	require.Contains(t, requireRequestError(t, err).Text, "PROXY v1 is TCP only; use v2: cluster u serves the udp listener u")
	_, err = s.e.PutCluster(status.RuntimeChange{}, "u", []byte(`{"levels": [{"servers": ["unix:/run/x.sock"]}]}`))
	r = requireRequestError(t, err)
	require.Equal(t, status.Forbidden, r.Kind, "without allow_programs")
	require.Equal(t, "levels[0].servers[0]", r.Field)
	_, err = s.e.AddServer(status.RuntimeChange{}, "u", []byte(`"10.0.0.1:1 send_proxy=v2"`))
	require.NoError(t, err)

	s.reload("[admin]\nlisten = \"\"\nallow_programs = true\n" + cluster("", a) + fmt.Sprintf("[[listener]]\nname = \"u\"\naddress = %q\nprotocol = \"udp\"\ncluster = \"u\"\n"+
		"[[cluster.u.level]]\nservers = []\n", nettest.ReserveDatagrams(t)))
	_, err = s.e.PutCluster(status.RuntimeChange{}, "u", []byte(`{"levels": [{"servers": ["unix:/run/x.sock"]}]}`))
	require.Contains(t, requireRequestError(t, err).Text, "a unix socket, which the udp listener u cannot reach")
}

// A removed server drains, and stays removed until it has left the file and returned.
func TestRemovedServer(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	a, b := host.Addr()+" name=A", host.Addr()+" name=B"
	s := startScript(t, "[runtime]\ndrain_timeout = \"300ms\"\nloops = 2\n"+cluster("", a+", "+b)[len("[runtime]\nloops = 2\n"):])
	c := nettest.Dial(t, s.listen)
	_, err := c.Write([]byte("x"))
	require.NoError(t, err)
	read(t, c, 1)
	require.NoError(t, s.e.RemoveServer(status.RuntimeChange{}, "c", "A"))
	require.Equal(t, "B", s.serverNames())
	require.Equal(t, []string{"A"}, s.e.Status().Clusters[0].Removed)
	_, err = c.Write([]byte("y"))
	require.NoError(t, err)
	read(t, c, 1)
	_, end := nettest.ReadToEnd(c, 3*time.Second)
	require.Equal(t, nettest.Reset, end, "cut at the drain deadline")

	s.reload(cluster("", a+", "+b))
	require.Equal(t, "B", s.serverNames())
	require.Equal(t, status.NotFound, requireRequestError(t, s.e.RemoveServer(status.RuntimeChange{}, "c", "A")).Kind)
	s.reload(cluster("", b))
	s.reload(cluster("", a+", "+b))
	require.Equal(t, "AB", s.serverNames())
}

func TestRemovedAndAddedAgain(t *testing.T) {
	t.Parallel()
	host, a := startNamed(t, "A")
	s := startScript(t, cluster("", a))
	require.NoError(t, s.e.RemoveServer(status.RuntimeChange{}, "c", "A"))
	require.Equal(t, "", s.serverNames())
	require.Equal(t, "-", s.request())
	require.NoError(t, s.addServer(host, "A", `, "weight": 4`))
	require.Equal(t, "A+", s.serverNames())
	require.Equal(t, 4, s.server("A").Weight)
	require.Equal(t, "A", s.request())
	s.reload(cluster("try = 1", a))
	require.Equal(t, "A+", s.serverNames(), "the removal stands, and so does the addition")
	require.NoError(t, s.e.RemoveServer(status.RuntimeChange{}, "c", "A"))
	require.Equal(t, "", s.serverNames())
}

// Replacing only the levels keeps the other keys. Errors change nothing.
func TestPutCluster(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	host, _ := startNamed(t, "B")
	s := startScript(t, cluster("balance = \"first\"", a))
	created, err := s.e.PutCluster(status.RuntimeChange{}, "c", fmt.Appendf(nil, `{"levels": [{"servers": [%q]}]}`, host.Addr()+" name=B"))
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, "B+", s.serverNames())
	require.Equal(t, "first", s.e.Status().Clusters[0].Balance)
	require.Equal(t, "BB", s.requests(2))
	_, err = s.e.PutCluster(status.RuntimeChange{}, "c", []byte(`{"levels": [{"servers": ["10.0.0.1"]}]}`))
	require.Equal(t, "levels[0].servers[0].address", requireRequestError(t, err).Field)
	require.Equal(t, "BB", s.requests(2))

	s.reload(cluster("balance = \"first\"\ntry = 1", a))
	require.Equal(t, "BB", s.requests(2), "survives a reload")
	s.reload(cluster("balance = \"rr\"\ntry = 2", a))
	require.Equal(t, "rr", s.e.Status().Clusters[0].Balance, "the file goes on to say the rest")
	require.Equal(t, "B+", s.serverNames())
	s.reload(cluster("balance = \"first\"\ntry = 1", a))
	require.Equal(t, status.Conflict, requireRequestError(t, s.e.RemoveCluster(status.RuntimeChange{}, "c")).Kind)

	_, err = s.e.PutCluster(status.RuntimeChange{}, "c", fmt.Appendf(nil, `{"balance": "first", "try": 1, "levels": [{"servers": [%q]}]}`, a))
	require.NoError(t, err)
	require.Equal(t, "A", s.serverNames(), "what the file says is the file's")
}

func TestCreatedCluster(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	s := startScript(t, cluster("", a))
	created, err := s.e.PutCluster(status.RuntimeChange{}, "new", []byte(`{"levels": [{"servers": ["10.0.0.1:1"]}]}`))
	require.NoError(t, err)
	require.True(t, created)
	_, err = s.e.AddServer(status.RuntimeChange{}, "new", []byte(`"10.0.0.2:1"`))
	require.NoError(t, err)
	s.reload(cluster("try = 1", a))
	doc := s.e.Status()
	require.Equal(t, "new", doc.Clusters[1].Name)
	require.Equal(t, status.OriginAPI, doc.Clusters[1].Origin)
	require.Len(t, doc.Clusters[1].Levels[0].Servers, 2)
	require.NoError(t, s.e.RemoveCluster(status.RuntimeChange{}, "new"))
	require.Len(t, s.e.Status().Clusters, 1)
	require.Equal(t, status.NotFound, requireRequestError(t, s.e.RemoveCluster(status.RuntimeChange{}, "new")).Kind)
}

// A listener that selects levels keeps those with the same names.
func TestPutClusterRemapsListenerLevels(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	_, b := startNamed(t, "B")
	config := func() string {
		return fmt.Sprintf("[[listener]]\nname = \"l\"\naddress = \"LISTEN\"\ncluster = \"c\"\nlevels = [\"two\"]\n"+
			"[[cluster.c.level]]\nname = \"one\"\nservers = [%q]\n[[cluster.c.level]]\nname = \"two\"\nservers = [%q]\n", a, b)
	}
	s := startScript(t, config())
	require.Equal(t, "B", s.request())
	_, err := s.e.PutCluster(status.RuntimeChange{}, "c", fmt.Appendf(nil, `{"levels": [{"name": "two", "servers": [%q]}, {"name": "one", "servers": []}]}`, a))
	require.NoError(t, err)
	require.Equal(t, "A", s.request())
	_, err = s.e.PutCluster(status.RuntimeChange{}, "c", fmt.Appendf(nil, `{"levels": [{"name": "one", "servers": [%q]}]}`, a))
	require.Equal(t, status.Conflict, requireRequestError(t, err).Kind)
	require.Equal(t, "A", s.request())
}

func TestPlan(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	a := host.Addr() + " name=A"
	s := startScript(t, cluster("", a))
	c := nettest.Dial(t, s.listen)
	_, err := c.Write([]byte("x"))
	require.NoError(t, err)
	read(t, c, 1)
	p, err := s.e.Plan("", []byte(s.text(cluster("", "10.0.0.1:1 name=B"))), nil)
	require.NoError(t, err)
	require.Len(t, p.Steps, 2)
	require.Equal(t, "add", p.Steps[0].Kind)
	require.Equal(t, "remove", p.Steps[1].Kind)
	require.Equal(t, 1, p.Steps[1].Cuts)
	require.Equal(t, 1, p.Cuts)
	require.False(t, p.Refused)

	p, err = s.e.Plan("", []byte(s.text("[runtime]\nloops = 3\n"+cluster("", a)[len("[runtime]\nloops = 2\n"):])), nil)
	require.NoError(t, err)
	require.True(t, p.Refused)
	_, err = s.e.Plan("", []byte("x = 1"), nil)
	require.Equal(t, status.Unprocessable, requireRequestError(t, err).Kind)
	require.Equal(t, "A", s.serverNames())
}

// Maintenance cuts sessions only with on_down = "close".
func TestPlanOfMaintenance(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	for onDown, cuts := range map[string]int{"keep": 0, "close": 1} {
		config := cluster("on_down = \""+onDown+"\"\n", host.Addr()+" name=A")
		s := startScript(t, config)
		c := nettest.Dial(t, s.listen)
		_, err := c.Write([]byte("x"))
		require.NoError(t, err)
		read(t, c, 1)
		maint := []byte(s.text(strings.Replace(config, "name=A", "name=A state=maint", 1)))
		p, err := s.e.Plan("", maint, nil)
		require.NoError(t, err)
		require.Len(t, p.Steps, 1)
		require.Equal(t, cuts, p.Cuts)
		require.NoError(t, s.e.Override("user test", "c", "A", []byte(`{"state": "ready"}`)))
		p, err = s.e.Plan("", maint, nil)
		require.NoError(t, err)
		require.Zero(t, p.Cuts, "an operator's word stands before the file's")
	}
}

func TestStoppedEngineRejectsChanges(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	s := startScript(t, cluster("", a))
	require.True(t, s.e.Ready())
	s.stop()
	require.False(t, s.e.Ready())
	_, err := s.e.AddServer(status.RuntimeChange{}, "c", []byte(`"10.0.0.1:1"`))
	require.Equal(t, status.Unavailable, requireRequestError(t, err).Kind)
	require.True(t, s.e.Status().Stopping)
	require.Empty(t, s.e.ListSessions(status.SessionFilter{Limit: 1}), "and does not wait for loops that have ended")
	require.Error(t, s.e.CutSession(1))
	require.NotEmpty(t, s.e.Metrics().Loops)
}

// The event log has the events of the log, and wakes waiting readers.
func TestEventLog(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	s := startScript(t, cluster("", a))
	got := make(chan []status.Event, 1)
	go func() {
		events, _, _ := s.e.Events(context.Background(), 0, true)
		got <- events
	}()
	require.NoError(t, s.e.Override("user test", "c", "A", []byte(`{"state": "maint"}`)))
	events := <-got
	require.Equal(t, "server_state", events[0].Event)
	require.Equal(t, "override", events[0].Layer)
	require.Equal(t, uint64(1), events[0].ID)
	for range 1200 {
		s.e.Reloaded(errors.New("no"))
	}
	events, missed, err := s.e.Events(context.Background(), 0, false)
	require.NoError(t, err)
	require.Len(t, events, 1000)
	require.Equal(t, events[0].ID, missed+1)
	doc := s.e.Status()
	require.Equal(t, "no", doc.Config.LastError)
	require.Equal(t, uint64(1200), doc.Config.Failed)
	s.e.Reloaded(nil)
	require.Empty(t, s.e.Status().Config.LastError)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, _, err = s.e.Events(ctx, events[len(events)-1].ID+1, true)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// text returns a configuration with the address of the script.
func (s *script) text(config string) string {
	return strings.ReplaceAll(config, "LISTEN", s.listen)
}
