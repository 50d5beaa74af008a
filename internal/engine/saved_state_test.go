package engine_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/state"
	"weir/internal/status"
)

// restart stops the script's engine and starts another one with a configuration and the saved state of the first.
func (s *script) restart(config string) *script {
	s.t.Helper()
	m := s.e.SavedState()
	s.stop()
	text, err := state.Encode(m)
	require.NoError(s.t, err)
	again, err := state.Decode(text)
	require.NoError(s.t, err)
	return startWithState(s.t, config, &again)
}

// states returns the states of a cluster's servers, in order.
func (s *script) states(cluster string) []string {
	var out []string
	s.eachServer(cluster, func(server status.Server) { out = append(out, server.State) })
	return out
}

// members returns the names of a cluster's servers, in order.
func (s *script) members(cluster string) []string {
	var out []string
	s.eachServer(cluster, func(server status.Server) { out = append(out, server.Name) })
	return out
}

func (s *script) eachServer(cluster string, visit func(status.Server)) {
	for _, c := range s.e.Status().Clusters {
		for _, l := range c.Levels {
			for i := range l.Servers {
				if c.Name == cluster {
					visit(l.Servers[i])
				}
			}
		}
	}
}

const savedConfig = `
[[listener]]
name = "l"
address = "LISTEN"
cluster = "c"
[cluster.c]
max_fails = 2
fail_timeout = "1m"
[[cluster.c.level]]
servers = ["127.0.0.1:1 name=a", "127.0.0.1:2 name=b weight=5", "127.0.0.1:3 name=d"]
`

// clockTolerance is the error of a time that was saved and restored: it is converted between two clocks, which are not read
// at the same moment.
const clockTolerance = 100 * time.Millisecond

func TestRestartKeepsOverrides(t *testing.T) {
	s := startScript(t, savedConfig)
	require.NoError(t, s.e.Override("user test", "c", "a", []byte(`{"state": "drain", "reason": "new kernel"}`)))
	require.NoError(t, s.e.Override("user test", "c", "b", []byte(`{"weight": 7, "max_sessions": 3}`)))
	before, err := s.e.Explain("c", "a")
	require.NoError(t, err)
	time.Sleep(3 * clockTolerance)

	s = s.restart(strings.Replace(savedConfig, "127.0.0.1:1 ", "127.0.0.9:1 ", 1))
	after, err := s.e.Explain("c", "a")
	require.NoError(t, err)
	require.Equal(t, "drain", after.State)
	require.Equal(t, "new kernel", after.Reason)
	require.WithinDuration(t, *before.Layers[0].At, *after.Layers[0].At, clockTolerance)
	require.WithinDuration(t, before.Since, after.Since, clockTolerance)
	b, err := s.e.Explain("c", "b")
	require.NoError(t, err)
	require.Equal(t, 7, b.Weight)
	require.Equal(t, 3, b.MaxSessions)
	require.Empty(t, s.events(), "no events")

	require.NoError(t, s.e.Override("user test", "c", "a", []byte(`{"state": null}`)))
	require.NoError(t, s.e.Override("user test", "c", "b", []byte(`{"weight": null, "max_sessions": null}`)))
	s = s.restart(savedConfig)
	b, err = s.e.Explain("c", "b")
	require.NoError(t, err)
	require.Equal(t, 5, b.Weight)
	require.Equal(t, []string{"up", "up", "up"}, s.states("c"))
}

func TestRestartKeepsPassiveRecords(t *testing.T) {
	s := startScript(t, savedConfig)
	for range 2 {
		require.NoError(t, s.e.Feedback("c", "a", []byte(`{"failed": true}`)))
	}
	require.NoError(t, s.e.Feedback("c", "b", []byte(`{"failed": true}`)))
	before, err := s.e.Explain("c", "a")
	require.NoError(t, err)
	require.Equal(t, "failing", before.State)
	time.Sleep(3 * clockTolerance)

	s = s.restart(savedConfig)
	after, err := s.e.Explain("c", "a")
	require.NoError(t, err)
	require.Equal(t, "failing", after.State)
	require.WithinDuration(t, before.Since, after.Since, clockTolerance)
	require.NoError(t, s.e.Feedback("c", "b", []byte(`{"failed": true}`)))
	require.Equal(t, []string{"failing", "failing", "up"}, s.states("c"), "the failure before the restart counts")

	moved := s.restart(strings.Replace(savedConfig, "127.0.0.1:1 ", "127.0.0.9:1 ", 1))
	require.Equal(t, []string{"up", "failing", "up"}, moved.states("c"), "passive records apply to an address")
	off := moved.restart(strings.Replace(savedConfig, "max_fails = 2", "max_fails = 0", 1))
	require.Equal(t, []string{"up", "up", "up"}, off.states("c"))
}

// A server fails for at most fail_timeout from the restart, whatever the wall clock was when the state was saved.
func TestRestartAfterWallClockChange(t *testing.T) {
	later := time.Now().Add(1000 * time.Hour)
	m := &state.Snapshot{SavedAt: later, Clusters: []state.Cluster{{Name: "c", Servers: []state.Server{{
		Name: "a", Address: "127.0.0.1:1", Passive: &state.Passive{State: "failing", Until: &later, At: later},
	}}}}}
	s := startWithState(t, strings.Replace(savedConfig, `"1m"`, `"300ms"`, 1), m)
	require.Equal(t, []string{"failing", "up", "up"}, s.states("c"))
	nettest.Wait(t, 5*time.Second, "probation", func() bool { return s.states("c")[0] == "probation" })
}

func TestRestartKeepsVerdicts(t *testing.T) {
	a, b := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.Echo)
	config := strings.NewReplacer("A", a.Addr(), "B", b.Addr()).Replace(`
[[listener]]
name = "l"
address = "LISTEN"
cluster = "c"
[cluster.c]
slow_start = "1m"
[[cluster.c.level]]
servers = ["A name=a", "B name=b"]
[[cluster.c.check]]
type = "tcp"
interval = "50ms"
rise = 4
fall = 1
`)
	s := startScript(t, config)
	b.Down()
	require.Equal(t, 1, s.countEvents("server_down b up→down"))
	down, err := s.e.Explain("c", "b")
	require.NoError(t, err)
	time.Sleep(3 * clockTolerance)

	slow := strings.Replace(config, `"50ms"`, `"500ms"`, 1)
	s = s.restart(slow)
	after, err := s.e.Explain("c", "b")
	require.NoError(t, err)
	require.Equal(t, "down", after.State)
	require.WithinDuration(t, down.Since, after.Since, clockTolerance)
	b.Up()
	require.Equal(t, 1, s.countEvents("server_up b down→up"))
	after, err = s.e.Explain("c", "b")
	require.NoError(t, err)
	require.Less(t, after.EffectiveWeight, 0.5, "slow start applies after down")
}

// A stale verdict holds until the first result, which decides alone.
func TestStaleVerdictEndsWithFirstResult(t *testing.T) {
	a, b := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.Echo)
	b.Down()
	config := strings.NewReplacer("A", a.Addr(), "B", b.Addr()).Replace(`
[[listener]]
name = "l"
address = "LISTEN"
cluster = "c"
[cluster.c]
protected = false
[[cluster.c.level]]
servers = ["A name=a", "B name=b"]
[[cluster.c.check]]
type = "tcp"
interval = "1h"
rise = 9
fall = 9
`)
	long := time.Now().Add(-time.Hour)
	m := &state.Snapshot{SavedAt: long, Clusters: []state.Cluster{{Name: "c", Servers: []state.Server{
		{Name: "a", Address: a.Addr(), Checks: []state.Check{{ID: "tcp", Down: true, At: long}}},
		{Name: "b", Address: b.Addr(), Checks: []state.Check{{ID: "tcp", Streak: 1, At: long}}},
	}}}}
	s := startWithState(t, config, m)
	require.Equal(t, 1, s.countEvents("server_up a down→up"))
	require.Equal(t, 1, s.countEvents("server_down b up→down"))
}

func TestRestartKeepsAgentAdvice(t *testing.T) {
	agent := nettest.Start(t, nettest.SendText("drain 50% maxconn:7\n"))
	_, port, _ := strings.Cut(agent.Addr(), ":")
	config := func(ttl string) string {
		return strings.NewReplacer("PORT", port, "TTL", ttl).Replace(`
[[listener]]
name = "l"
address = "LISTEN"
cluster = "c"
[[cluster.c.level]]
servers = ["127.0.0.1:1 name=a weight=10"]
[[cluster.c.check]]
type = "agent"
port = PORT
interval = "100ms"
ttl = "TTL"
`)
	}
	s := startScript(t, config("0s"))
	s.countEvents("server_state a up→drain")
	agent.Down()
	s = s.restart(config("300ms"))
	x, err := s.e.Explain("c", "a")
	require.NoError(t, err)
	require.Equal(t, "drain", x.State)
	require.Equal(t, 5, x.Weight)
	require.Equal(t, 7, x.MaxSessions)
	require.Equal(t, 1, s.countEvents("server_state a drain→up"), "its ttl continues")
	s = s.restart(config("0s"))
	require.Equal(t, []string{"up"}, s.states("c"), "expired advice is not restored")
}

func TestRestartKeepsLevelWithManualFailback(t *testing.T) {
	config := `
[[listener]]
name = "l"
address = "LISTEN"
cluster = "c"
[cluster.c]
failback = "manual"
[[cluster.c.level]]
name = "one"
servers = ["127.0.0.1:1 name=a"]
[[cluster.c.level]]
name = "two"
servers = ["127.0.0.1:2 name=b"]
`
	s := startScript(t, config)
	require.NoError(t, s.e.Override("user test", "c", "a", []byte(`{"state": "drain"}`)))
	require.NoError(t, s.e.Override("user test", "c", "a", []byte(`{"state": null}`)))
	require.Equal(t, "two", s.e.Status().Clusters[0].Level)
	require.True(t, s.e.Status().Clusters[0].Held)
	s = s.restart(config)
	require.Equal(t, "two", s.e.Status().Clusters[0].Level)
	require.True(t, s.e.Status().Clusters[0].Held)
	require.NoError(t, s.e.Failback("c"))
	require.Equal(t, "one", s.e.Status().Clusters[0].Level)
	s = s.restart(config)
	require.Equal(t, "one", s.e.Status().Clusters[0].Level)
	require.NoError(t, s.e.Override("user test", "c", "a", []byte(`{"state": "drain"}`)))
	require.NoError(t, s.e.Override("user test", "c", "a", []byte(`{"state": null}`)))
	s = s.restart(strings.Replace(config, `"manual"`, `"auto"`, 1))
	require.Equal(t, "one", s.e.Status().Clusters[0].Level)
}

func TestRestartKeepsRuntimeChanges(t *testing.T) {
	s := startScript(t, savedConfig)
	_, err := s.e.AddServer(status.RuntimeChange{}, "c", []byte(`{"address": "127.0.0.1:4", "name": "x", "weight": 9}`))
	require.NoError(t, err)
	require.NoError(t, s.e.Override("user test", "c", "x", []byte(`{"state": "maint"}`)))
	require.NoError(t, s.e.RemoveServer(status.RuntimeChange{}, "c", "d"))
	_, err = s.e.PutCluster(status.RuntimeChange{}, "made", []byte(`{"balance": "rr", "levels": [{"servers": ["127.0.0.1:7"]}]}`))
	require.NoError(t, err)
	_, err = s.e.AddServer(status.RuntimeChange{}, "made", []byte(`"127.0.0.1:8"`))
	require.NoError(t, err)
	_, err = s.e.PutCluster(status.RuntimeChange{}, "made", []byte(`{"levels": [{"servers": ["127.0.0.1:9"]}]}`)) // keys that are left out keep their values
	require.NoError(t, err)

	s = s.restart(savedConfig)
	require.Equal(t, []string{"a", "b", "x"}, s.members("c"))
	x, err := s.e.Explain("c", "x")
	require.NoError(t, err)
	require.Equal(t, "maint", x.State)
	require.Equal(t, 9, x.Weight)
	require.Equal(t, status.OriginAPI, x.Origin)
	made := s.e.Status().Clusters[1]
	require.Equal(t, "rr", made.Balance)
	require.Equal(t, status.OriginAPI, made.Origin)
	require.Equal(t, []string{"127.0.0.1:9"}, s.members("made"))

	without := strings.Replace(savedConfig, `, "127.0.0.1:3 name=d"`, "", 1)
	s = s.restart(without)
	require.Equal(t, []string{"a", "b", "x"}, s.members("c"))
	s = s.restart(savedConfig)
	require.Equal(t, []string{"a", "b", "d", "x"}, s.members("c"), "the file has the server again")

	named := strings.Replace(savedConfig, `"127.0.0.1:3 name=d"`, `"127.0.0.1:3 name=x"`, 1)
	s = s.restart(named)
	x, err = s.e.Explain("c", "x")
	require.NoError(t, err)
	require.Equal(t, status.OriginFile, x.Origin)
	require.Equal(t, 1, x.Weight)
}

// Saved changes that no longer fit the configuration are logged and dropped. The others are restored.
func TestRestartDropsInvalidRuntimeChanges(t *testing.T) {
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	m := &state.Snapshot{SavedAt: time.Now(), Clusters: []state.Cluster{
		{Name: "c", Removed: []string{"a", "nobody"}, Added: []state.AddedServer{
			{Level: "1", Server: raw(`{"address": "nonsense"}`)},
			{Level: "7", Server: raw(`"127.0.0.1:70"`)},
			{Level: "1", Server: raw(`"127.0.0.1:71 name=y"`)},
		}},
		{Name: "bad", Created: true, Replacement: raw(`{"balanse": 7}`)},
		{Name: "left", Replacement: raw(`{"levels": [{"servers": []}]}`)},
		{Name: "good", Created: true, Replacement: raw(`{"levels": [{"servers": ["127.0.0.1:72"]}]}`)},
	}}
	s := startWithState(t, savedConfig, m)
	require.Equal(t, []string{"b", "d", "y"}, s.members("c"))
	require.Equal(t, []string{"127.0.0.1:72"}, s.members("good"))
	require.Len(t, s.e.Status().Clusters, 2)
	said := s.logged(&s.lines, func(l line) bool { return strings.HasPrefix(l["msg"], "state: runtime changes lost") })
	require.Len(t, said, 1)
	require.Contains(t, said[0]["error"], "nonsense")
	require.Contains(t, said[0]["error"], "balanse")

	at := nettest.Reserve(t)
	m = &state.Snapshot{SavedAt: time.Now(), Clusters: []state.Cluster{
		{Name: "c", Added: []state.AddedServer{{Level: "1", Server: raw(`"` + at + ` name=z"`)}}},
		{Name: "good", Created: true, Replacement: raw(`{"levels": [{"servers": ["127.0.0.1:72"]}]}`)},
	}}
	s = startWithState(t, strings.Replace(savedConfig, "LISTEN", at, 1), m)
	require.Equal(t, []string{"a", "b", "d"}, s.members("c"), "a server with the address of a listener")
	require.Equal(t, []string{"127.0.0.1:72"}, s.members("good"))
}

// A change is in the state file soon, and another engine restores it.
func TestStateFileIsWrittenAndRestored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	config := "[runtime]\nstate_file = \"" + path + "\"\n" + savedConfig
	s := startScript(t, config)
	require.NoError(t, s.e.Override("user test", "c", "a", []byte(`{"state": "drain"}`)))
	nettest.Wait(t, 5*time.Second, "the file", func() bool {
		text, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(text), "drain")
	})
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	nettest.Wait(t, 5*time.Second, "the status to say so", func() bool { return s.e.Status().StateFile.SavedAt != nil })
	require.NoError(t, s.e.Override("user test", "c", "b", []byte(`{"state": "maint"}`)))
	moved := path + ".moved"
	s.reload(strings.Replace(config, path, moved, 1))
	nettest.Wait(t, 5*time.Second, "the file at its new place", func() bool { return s.e.Status().StateFile.File == moved })
	s.reload(config)
	s.stop() // writes the file once more
	s = startScript(t, config)
	require.Equal(t, []string{"drain", "maint", "up"}, s.states("c"))
}

// An invalid state file does not prevent a start.
func TestStartWithInvalidStateFile(t *testing.T) {
	good, err := state.Encode(state.Snapshot{Clusters: []state.Cluster{{Name: "c"}}})
	require.NoError(t, err)
	for name, bad := range map[string]struct{ text, want string }{
		"empty":     {"", ":1:1: the text ends early"},
		"truncated": {string(good[:len(good)/2]), "the text ends early"},
		"damaged":   {strings.Replace(string(good), `"clusters": [`, `"clusters": ]`, 1), ":5:14: invalid character"},
		"foreign":   {`{"version": 1}`, "not a state file of weir"},
		"future":    {strings.Replace(string(good), `"version": 2`, `"version": 99`, 1), "version: want at most 2, got 99"},
		"wrong":     {strings.Replace(string(good), `"c"`, `7`, 1), "want a value of type string"},
		"huge":      {strings.Repeat(" ", state.MaxSize+1), "larger than 64 MB"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.json")
			require.NoError(t, os.WriteFile(path, []byte(bad.text), 0o600))
			s := startScript(t, "[runtime]\nstate_file = \""+path+"\"\n"+savedConfig)
			said := s.logged(&s.lines, func(l line) bool { return l["msg"] == "state file: cannot be used" })
			require.Len(t, said, 1)
			require.Contains(t, said[0]["error"], path+":")
			require.Contains(t, said[0]["error"], bad.want)
			aside, err := os.ReadFile(said[0]["set_aside"])
			require.NoError(t, err)
			require.Equal(t, bad.text, string(aside))
			require.Equal(t, said[0]["set_aside"], s.e.Status().StateFile.SetAside)
			s.stop()
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			_, err = state.Decode(text)
			require.NoError(t, err)
		})
	}
}

// A state file that cannot be written is logged once and tried again.
func TestUnwritableStateFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	s := startScript(t, "[runtime]\nstate_file = \""+dir+"/state.json\"\n"+savedConfig)
	failed := func() int {
		return len(s.logged(&s.lines, func(l line) bool { return strings.HasPrefix(l["msg"], "state file: cannot be written") }))
	}
	nettest.Wait(t, 5*time.Second, "the warning", func() bool { return failed() == 1 })
	require.Contains(t, s.e.Status().StateFile.LastError, "no such file")
	require.NoError(t, s.e.Override("user test", "c", "a", []byte(`{"state": "drain"}`)))
	time.Sleep(time.Second)
	require.Equal(t, 1, failed())
	require.NoError(t, os.Mkdir(dir, 0o700))
	nettest.Wait(t, 10*time.Second, "the file", func() bool { return s.e.Status().StateFile.LastError == "" })
	require.FileExists(t, dir+"/state.json")

	directory := t.TempDir()
	s = startScript(t, "[runtime]\nstate_file = \""+directory+"\"\n"+savedConfig)
	nettest.Wait(t, 5*time.Second, "the warning", func() bool { return s.e.Status().StateFile.LastError == "not a regular file" })
	require.DirExists(t, directory)
}
