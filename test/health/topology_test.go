// Clusters that follow the primary according to Sentinels.

package health_test

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// sentinels are three scripted Sentinels of two servers, and a weir that asks them.
type sentinels struct {
	*weirtest.Weir
	weirtest.API
	t       *testing.T
	fakes   []*nettest.FakeSentinel
	a, b    string // addresses of the servers
	listen  string
	config  weirtest.Config
	options weirtest.Options
}

// startSentinels starts the Sentinels; A is the primary, with epoch 1.
func startSentinels(t *testing.T, keys string) *sentinels {
	t.Helper()
	s := &sentinels{t: t, listen: nettest.Reserve(t), API: weirtest.NewAPI(t)}
	s.a, s.b = nettest.Start(t, nettest.Greet("A", nettest.Echo)).Addr(), nettest.Start(t, nettest.Greet("B", nettest.Echo)).Addr()
	var addresses []string
	for range 3 {
		f := nettest.StartFakeSentinel(t, "mymaster", s.state(1, s.a, s.b))
		s.fakes = append(s.fakes, f)
		addresses = append(addresses, fmt.Sprintf("%q", f.Addr()))
	}
	s.config = weirtest.Config{
		Listen: s.listen, Cluster: "on_down = \"close\"", Levels: weirtest.OneLevel(s.a+" name=A", s.b+" name=B"),
		More: "[cluster.c.topology]\ntype = \"sentinel\"\nmaster = \"mymaster\"\nsentinels = [" + strings.Join(addresses, ", ") + "]\n" + keys,
	}
	return s
}

func (s *sentinels) start() {
	s.t.Helper()
	s.Weir = s.options.Start(s.t, s.API.AddTo(s.config.String()))
	s.Weir.Baseline = nil // the connections to the Sentinels come later
}

// settle waits for the connections to the Sentinels. From now on weir has the descriptors that it must return to.
func (s *sentinels) settle() {
	s.t.Helper()
	nettest.Wait(s.t, 30*time.Second, "the connections to the Sentinels", func() bool {
		for _, f := range s.fakes {
			if f.Subscribers() == 0 || f.Asked() == 0 {
				return false
			}
		}
		return true
	})
	listening := s.WaitRecord(15*time.Second, "the descriptors", func(r weirtest.Record) bool { return r.Text("msg") == "descriptors" }).Int("listening")
	s.Weir.Baseline = s.Weir.DescriptorKinds()
	s.Weir.Baseline["socket"] = listening + 2*len(s.fakes) // requests to the API may have others
}

// state returns what a Sentinel says: the primary and a replica.
func (s *sentinels) state(epoch uint64, primary, replica string) nettest.SentinelState {
	host, port, _ := net.SplitHostPort(replica)
	return nettest.SentinelAt(primary, epoch, host+" "+port+" slave")
}

// switchTo makes a number of Sentinels name another primary.
func (s *sentinels) switchTo(epoch uint64, primary, replica string, number int) {
	for _, f := range s.fakes[:number] {
		f.Switch(s.state(epoch, primary, replica))
	}
}

// waitPrimary waits until weir has a primary.
func (s *sentinels) waitPrimary(name string) {
	s.t.Helper()
	nettest.Wait(s.t, 30*time.Second, name+" to be the primary", func() bool { return s.Get("clusters", 0, "topology", "primary") == name })
}

// A quorum moves new sessions to the new primary and cuts those of the old one; one Sentinel alone moves nothing.
func TestSentinelsMoveSessions(t *testing.T) {
	t.Parallel()
	s := startSentinels(t, "")
	s.start()
	s.waitPrimary("A")
	s.settle()
	onA := nettest.Dial(t, s.listen)
	require.Equal(t, "A", weirtest.ReadByte(t, onA))

	s.switchTo(2, s.b, s.a, 1)
	asked := s.fakes[0].Asked()
	nettest.Wait(t, 30*time.Second, "the Sentinels to be asked", func() bool { return s.fakes[0].Asked() > asked })
	require.Equal(t, "A", weirtest.ReadByte(t, nettest.Dial(t, s.listen)))

	s.switchTo(2, s.b, s.a, 3)
	s.waitPrimary("B")
	require.Equal(t, "B", weirtest.DialAndReadByte(t, s.listen))
	_, end := nettest.ReadToEnd(onA, 20*time.Second)
	require.Equal(t, nettest.Reset, end)
	require.Equal(t, "relay cut_demoted", s.SessionRecord(onA).Termination())

	change := s.WaitRecord(15*time.Second, "the change", func(r weirtest.Record) bool { return r.IsEvent("primary_change") && r.Text("from") == "A" })
	require.Equal(t, []any{"B", "sentinel", 2}, []any{change.Text("to"), change.Text("source"), change.Int("epoch")})
	over := s.WaitRecord(40*time.Second, "the failover", func(r weirtest.Record) bool { return r.IsEvent("failover") })
	require.Equal(t, []any{"A", "B", 2, 0}, []any{over.Text("from"), over.Text("to"), over.Int("closed"), over.Int("held")})
	require.Contains(t, over, "first_session_ms")
	require.Empty(t, s.Events("cluster_empty"))

	// Visible everywhere.
	require.Contains(t, s.MustRunCommand("status", "c"), "primary B (sentinel: primary is "+s.b+", epoch 2)")
	require.Contains(t, s.MustRunCommand("explain", "c/A"), "topology")
	require.Contains(t, s.MustRunCommand("explain", "c/A"), "primary is "+s.b+", epoch 2")
	require.Contains(t, s.MustRunCommand("events"), "primary_change")
	for metric, want := range map[string]string{
		`weir_topology_stale{cluster="c"}`: "0", `weir_topology_epoch{cluster="c"}`: "2", `weir_topology_changes_total{cluster="c"}`: "1",
		`weir_sessions_on_non_primary{cluster="c"}`: "0", `weir_server_role{cluster="c",role="primary",server="B"}`: "1",
	} {
		require.Equal(t, want, s.Metric(metric), metric)
	}

	// An old epoch is ignored until an operator resets it.
	s.switchTo(1, s.a, s.b, 3)
	asked = s.fakes[0].Asked()
	nettest.Wait(t, 30*time.Second, "the Sentinels to be asked", func() bool { return s.fakes[0].Asked() > asked+1 })
	require.Equal(t, "B", weirtest.DialAndReadByte(t, s.listen))
	require.Equal(t, "c: topology reset\n", s.MustRunCommand("topology", "c", "reset"))
	s.waitPrimary("A")
	require.Equal(t, "A", weirtest.DialAndReadByte(t, s.listen))
	code, _ := s.Do("POST /v1/clusters/none/topology/reset", "")
	require.Equal(t, 404, code)
	code, out := s.RunCommand("topology", "c", "rest")
	require.Equal(t, 1, code)
	require.Contains(t, out, `did you mean "reset"?`)
}

// Without Sentinels the last decision stays in force, also after a restart and an upgrade, and is shown as stale.
func TestSentinelDecisionOutlivesSentinels(t *testing.T) {
	t.Parallel()
	s := startSentinels(t, "interval = \"500ms\"\ntimeout = \"500ms\"\n")
	line, path := weirtest.StateFile(t)
	s.config.Runtime = line
	s.options.Program = weirtest.CopyProgram(t)
	s.start()
	s.waitPrimary("A")
	s.switchTo(2, s.b, s.a, 3)
	s.waitPrimary("B")
	onB := nettest.Dial(t, s.listen)
	require.Equal(t, "B", weirtest.ReadByte(t, onB))
	for _, f := range s.fakes {
		f.Set(nettest.SentinelState{Mute: true})
	}
	nettest.Wait(t, 30*time.Second, "the decision to be stale", func() bool { return s.Metric(`weir_topology_stale{cluster="c"}`) == "1" })
	require.Contains(t, s.MustRunCommand("status"), "topology stale")
	require.NoError(t, weirtest.PingPong(onB))

	s.Weir.Upgrade()
	require.NoError(t, weirtest.PingPong(onB))
	require.Equal(t, "B", weirtest.DialAndReadByte(t, s.listen))
	require.EqualValues(t, 2, s.Get("clusters", 0, "topology", "epoch"))
	require.Len(t, s.Records(func(r weirtest.Record) bool { return r.IsEvent("primary_change") && r.Text("from") == "" }), 1, "an upgrade decides nothing")

	weirtest.WaitSaved(t, path, `"primary": "`+s.b+`"`, `"epoch": 2`)
	onB.Close()
	s.Kill()
	s.start()
	require.Equal(t, "B", weirtest.DialAndReadByte(t, s.listen))
	require.NotNil(t, s.Get("clusters", 0, "topology", "stale_since"))
	for _, f := range s.fakes {
		f.Set(s.state(3, s.a, s.b))
	}
	s.waitPrimary("A")
	s.settle()
	change := s.WaitRecord(15*time.Second, "the change", func(r weirtest.Record) bool { return r.IsEvent("primary_change") && r.Text("from") == "B" })
	require.Equal(t, "A", change.Text("to"))
	require.Equal(t, "A", weirtest.DialAndReadByte(t, s.listen))
}

// Clients that connect while there is no primary are held, not rejected, and get the new one.
func TestHeldSessionsGetNewPrimary(t *testing.T) {
	t.Parallel()
	s := startSentinels(t, "")
	s.config.Cluster += "\nhold_timeout = \"30s\""
	for _, f := range s.fakes {
		f.Set(nettest.SentinelState{})
	}
	s.start()
	s.settle()
	var held []*net.TCPConn
	for range 5 {
		held = append(held, nettest.Dial(t, s.listen))
	}
	nettest.Wait(t, 30*time.Second, "the sessions to be held", func() bool { return s.Get("clusters", 0, "held_sessions") == 5.0 })
	require.Contains(t, s.MustRunCommand("status"), "no primary")
	s.switchTo(1, s.a, s.b, 3)
	for _, c := range held {
		require.Equal(t, "A", weirtest.ReadByte(t, c))
	}
	for _, f := range s.fakes {
		f.Set(nettest.SentinelState{})
	}
	nettest.Wait(t, 30*time.Second, "the decision to be stale", func() bool { return s.Metric(`weir_topology_stale{cluster="c"}`) == "1" })
	require.NoError(t, weirtest.PingPong(held[0]))
}

// Checks, agents, maintenance and drain beside a topology. A primary that fails its checks stays the only one.
func TestTopologyBesideOtherLayers(t *testing.T) {
	t.Parallel()
	s := startSentinels(t, "")
	broken := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	s.a = broken.Addr()
	s.config.Levels = weirtest.OneLevel(s.a+" name=A", s.b+" name=B")
	s.config.Cluster = "protected = false"
	s.config.Checks = "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"500ms\"\ndown_interval = \"100ms\"\nfall = 1\nrise = 1\n"
	s.switchTo(1, s.a, s.b, 3)
	s.start()
	s.waitPrimary("A")
	s.settle()
	state := func(name, want string) {
		t.Helper()
		nettest.Wait(t, 30*time.Second, name+" "+want, func() bool { return s.Server(name)["state"] == want })
	}
	state("A", "up")
	broken.Down()
	state("A", "down")
	state("B", "standby")
	text, end := weirtest.ReadSession(s.listen)
	require.Empty(t, text)
	require.Equal(t, nettest.Reset, end)
	s.MustRunCommand("server", "c/B", "ready")
	state("B", "standby")
	broken.Up()
	state("A", "up")
	s.MustRunCommand("server", "c/A", "drain")
	state("A", "drain")
	state("B", "standby")
	s.switchTo(2, s.b, s.a, 3)
	state("B", "up")
	state("A", "drain")
	s.MustRunCommand("server", "c/A", "reset")
	state("A", "standby")
	require.Contains(t, s.Server("A")["reason"], "epoch 2")
	s.MustDo("PUT /v1/clusters/x", `{"levels": [{"servers": []}], "topology": {"type": "sentinel", "master": "m", "sentinels": ["127.0.0.1:1"]}}`)
	code, body := s.Do("PUT /v1/clusters/x", `{"levels": [{"servers": []}], "topology": {"type": "sentinel", "master": "m", "sentinels": ["127.0.0.1:1"], "password_file": "/etc/shadow"}}`)
	require.Equal(t, 403, code)
	require.Contains(t, body, "topology.password_file")
	s.MustDo("DELETE /v1/clusters/x", "")
}

// Servers that the Sentinels list are added and removed.
func TestSentinelsDiscoverServers(t *testing.T) {
	t.Parallel()
	s := startSentinels(t, "discover = true\ninterval = \"500ms\"\ntimeout = \"500ms\"\n[cluster.c.topology.server]\nweight = 3\n")
	s.config.Levels = nil
	s.options.Program = weirtest.CopyProgram(t)
	s.start()
	names := func() string {
		var doc struct {
			Levels []struct {
				Servers []struct{ Name, Origin string }
			}
		}
		require.NoError(t, json.Unmarshal([]byte(s.MustDo("GET /v1/clusters/c", "")), &doc))
		var list []string
		for _, srv := range doc.Levels[0].Servers {
			require.Equal(t, "topology", srv.Origin)
			list = append(list, srv.Name)
		}
		return strings.Join(list, " ")
	}
	both := s.a + " " + s.b
	if s.b < s.a {
		both = s.b + " " + s.a
	}
	nettest.Wait(t, 30*time.Second, "both servers", func() bool { return names() == both })
	s.waitPrimary(s.a)
	s.settle()
	onA := nettest.Dial(t, s.listen)
	require.Equal(t, "A", weirtest.ReadByte(t, onA))
	require.Equal(t, float64(3), s.Server(s.b)["weight"])
	s.Weir.Upgrade()
	require.Equal(t, both, names())
	require.NoError(t, weirtest.PingPong(onA))
	s.Weir.Reload(s.API.AddTo(s.config.String()))
	require.Equal(t, both, names())
	code, _ := s.Do("DELETE /v1/clusters/c/servers/"+s.b, "")
	require.Equal(t, 409, code)
	require.Contains(t, s.MustRunCommand("status", "c"), "^ found by the topology")
	for _, f := range s.fakes {
		f.Set(nettest.SentinelAt(s.a, 1))
	}
	nettest.Wait(t, 30*time.Second, "B to leave", func() bool { return names() == s.a })
	require.NoError(t, weirtest.PingPong(onA))
}

// A missing file rejects a reload, and weir check, with its position.
func TestTopologyFileMissing(t *testing.T) {
	t.Parallel()
	s := startSentinels(t, "")
	s.start()
	s.waitPrimary("A")
	s.settle()
	bad := s.API.AddTo(s.config.String() + "password_file = \"/nonexistent\"\n")
	failed := s.FailReload(bad)
	require.Contains(t, fmt.Sprint(failed), "cluster.c.topology.password_file")
	require.Equal(t, "A", weirtest.DialAndReadByte(t, s.listen))
}
