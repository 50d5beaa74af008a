package discovery_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A level gets the servers of a file, with their labels. A change of the file is in force within a second. Sessions on a server
// that leaves stay, and cursors of other clusters do not move.
func TestFileChanges(t *testing.T) {
	t.Parallel()
	hosts := greeters(t, "ABCXY")
	l := newList(t)
	l.write(group(addresses(hosts, "A"), "weight=2", "rack=r1"), group(addresses(hosts, "B"), "name=b", "state=maint"))
	other := nettest.Reserve(t)
	config := found(l.keys() + "server = { max_fails = 7 }\n")
	config.More = weirtest.ListenerTables("other", other, hosts["X"].Addr()+" weight=3", hosts["Y"].Addr())
	w, listen, a := weirtest.ServeAPI(t, config)
	require.Equal(t, "AA", firstBytes(t, listen, 2))
	s := a.Server(hosts["A"].Addr())
	require.Equal(t, []any{2.0, "discovery"}, []any{s["weight"], s["origin"]})
	require.Equal(t, "maint", a.Server("b")["state"])
	out := a.MustRunCommand("discover", "c")
	require.Contains(t, out, "rack=r1")
	require.Contains(t, out, "file "+l.path+", 2 servers")
	require.Contains(t, a.MustRunCommand("status", "c"), "^")

	require.Equal(t, "X", firstBytes(t, other, 1)) // XXYX with weights 3 and 1
	session := nettest.Dial(t, listen)
	require.Equal(t, "A", weirtest.ReadByte(t, session))
	begin := time.Now()
	l.write(group(addresses(hosts, "C")))
	nettest.Wait(t, weirtest.Bound(3*time.Second), "C to serve", func() bool { return firstBytes(t, listen, 1) == "C" })
	require.Less(t, nettest.Elapsed(begin), weirtest.Bound(1100*time.Millisecond))
	require.NoError(t, weirtest.PingPong(session), "the session of a server that has left stays")
	require.Equal(t, "XYX", firstBytes(t, other, 3))
	require.Equal(t, "1", a.Metric(`weir_discovery_servers{cluster="c",level="1",type="file"}`))
	require.Equal(t, "2", a.Metric(`weir_discovery_changes_total{cluster="c",level="1",type="file"}`))
	require.Contains(t, a.MustRunCommand("discover", "c"), "removed "+hosts["A"].Addr()+", b")
	session.Close()
	require.Empty(t, w.Records(func(r weirtest.Record) bool { return r.Text("level") == "ERROR" }))
}

// While a file is missing, malformed or empty, its last servers stay, with a problem; and survive a restart with a state file.
func TestLastAnswerStays(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	l := newList(t)
	l.write(group(addresses(hosts, "A")))
	line, state := weirtest.StateFile(t)
	config := found(l.keys())
	config.Runtime, config.Listen = line, nettest.Reserve(t)
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(config.String()))
	l.writeText("[{\"targets\": [")
	waitProblem(a, "provider of level 1 (file) fails: its last 1 server stays, last answer ")
	require.Contains(t, problems(a), "want a JSON list")
	require.Equal(t, "A", weirtest.ReadSessions(t, config.Listen, 1))
	require.Equal(t, "1", a.Metric(`weir_discovery_failing{cluster="c",level="1",type="file"}`))
	l.write()
	waitProblem(a, "lists no server: its last 1 server stays (keep_on_empty = true)")
	require.Equal(t, "A", weirtest.ReadSessions(t, config.Listen, 1))
	l.writeText(`[{"targets": ["nonsense", 7]}]`)
	waitProblem(a, "none of 2 entries can be used")
	require.Equal(t, "A", weirtest.ReadSessions(t, config.Listen, 1))
	require.NoError(t, os.Remove(l.path))
	waitProblem(a, "no such file")
	weirtest.WaitSaved(t, state, hosts["A"].Addr())
	w.Kill()

	weirtest.Start(t, a.AddTo(config.String()))
	require.Equal(t, "A", weirtest.ReadSessions(t, config.Listen, 1))
	waitProblem(a, "no such file")
	require.Contains(t, a.MustRunCommand("discover", "c"), "answer of an earlier process or configuration")
	l.write(group(addresses(hosts, "B")))
	nettest.Wait(t, weirtest.Bound(3*time.Second), "B to serve", func() bool { return weirtest.ReadSessions(t, config.Listen, 1) == "B" })
	waitNoProblem(a)
}

// With keep_on_empty = false an empty list is in force.
func TestEmptyAnswerAccepted(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "A")
	l := newList(t)
	l.write(group(addresses(hosts, "A")))
	_, listen, a := weirtest.ServeAPI(t, found(l.keys()+"keep_on_empty = false\n"))
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
	l.write()
	waitServers(a)
	require.Contains(t, problems(a), "no servers")
}

// Bad entries are reported and skipped: the rest is used.
func TestBadEntriesSkipped(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	l := newList(t)
	listen := nettest.Reserve(t)
	l.write(group(addresses(hosts, "A")), group([]string{"10.0.0.1"}), group([]string{"10.0.0.2:1"}, "weight=heavy"), group(addresses(hosts, "A"), "name=again"),
		group([]string{"unix:/tmp/x.sock", listen}), group([]string{"10.0.0.3:3"}, "name=one"), group([]string{"10.0.0.4:4"}, "name=one"), "text",
		map[string]any{"targets": []any{7}}, group(addresses(hosts, "B"), "name=two\nlines"))
	config := found(l.keys())
	config.Listen = listen
	_, _, a := weirtest.ServeAPI(t, config)
	waitServers(a, hosts["A"].Addr(), "one")
	require.Contains(t, problems(a), "provider of level 1 (file): 9 entries cannot be used")
	out := a.MustRunCommand("discover", "c")
	for _, want := range []string{
		"10.0.0.1: address: ", "10.0.0.2:1: weight: want an integer from 0 to 256", "listed twice", "unix:/tmp/x.sock: a unix socket", "points back to listener l",
		"another server of the list has the name \"one\"", "[7]: want an object with targets and labels", "[8].targets[0]: want a string",
	} {
		require.Contains(t, out, want)
	}
	require.Equal(t, "9", a.Metric(`weir_discovery_bad_entries{cluster="c",level="1",type="file"}`))
}

// More than 10,000 entries are a problem, and the first 10,000 are used.
func TestEntriesBounded(t *testing.T) {
	t.Parallel()
	l := newList(t)
	var many []string
	for i := range 10_007 {
		many = append(many, fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255))
	}
	l.write(group(many))
	_, _, a := weirtest.ServeAPI(t, found(l.keys()))
	require.Contains(t, problems(a), "provider of level 1 (file): 7 entries beyond the limit dropped")
	require.Equal(t, "10000", a.Metric(`weir_discovery_servers{cluster="c",level="1",type="file"}`))
	require.Equal(t, "7", a.Metric(`weir_discovery_dropped_entries{cluster="c",level="1",type="file"}`))
}

// A server both in servers and from the provider is one, with the options of the file. In another level it has only its own weight.
func TestFileOptionsWin(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	l := newList(t)
	l.write(group(addresses(hosts, "A"), "weight=9", "name=other", "max_sessions=1"), group(addresses(hosts, "B"), "weight=3"))
	config := weirtest.Config{
		Levels: [][]string{{hosts["A"].Addr() + " name=a weight=2"}, {hosts["B"].Addr() + " name=b max_sessions=5"}},
		Checks: "",
	}
	text := config.String()
	at := strings.Index(text, "[[cluster.c.level]]\n\nservers = [\""+hosts["B"].Addr())
	require.Positive(t, at)
	listen := nettest.Reserve(t)
	text = strings.Replace(text[:at]+"[cluster.c.level.discover]\n"+l.keys()+text[at:], `address = ""`, fmt.Sprintf("address = %q", listen), 1)
	a := weirtest.NewAPI(t)
	weirtest.Start(t, a.AddTo(text))
	require.Equal(t, []string{"a", "b"}, servers(a, 0))
	require.Equal(t, []string{"b"}, servers(a, 1))
	first := a.Get("clusters", 0, "levels", 0, "servers").([]any)
	require.Equal(t, []any{2.0, "file"}, []any{first[0].(map[string]any)["weight"], first[0].(map[string]any)["origin"]})
	require.Equal(t, []any{3.0, 5.0, "discovery"}, []any{first[1].(map[string]any)["weight"], first[1].(map[string]any)["max_sessions"], first[1].(map[string]any)["origin"]})
	require.Contains(t, a.MustRunCommand("discover", "c"), "as in the file")
	l.write()
	l.write(group(addresses(hosts, "B"), "weight=4"))
	nettest.Wait(t, weirtest.Bound(5*time.Second), "another weight", func() bool {
		s := a.Get("clusters", 0, "levels", 0, "servers").([]any)
		return len(s) == 2 && s[1].(map[string]any)["weight"] == 4.0
	})
	require.Equal(t, "a", a.Get("clusters", 0, "levels", 0, "servers", 0, "name"))
}

// A server that an operator removes stays away while the provider names it, until it is restored; also after a restart.
func TestRemovedServerStaysAway(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	l := newList(t)
	l.write(group(addresses(hosts, "AB")))
	line, state := weirtest.StateFile(t)
	config := found(l.keys())
	config.Runtime, config.Listen = line, nettest.Reserve(t)
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(config.String()))
	gone := hosts["A"].Addr()
	a.MustRunCommand("server", "c/"+gone, "remove")
	require.Equal(t, "BB", weirtest.ReadSessions(t, config.Listen, 2))
	l.write(group(addresses(hosts, "ABC")))
	waitServers(a, addresses(hosts, "BC")...)
	l.write(group(addresses(hosts, "C")))
	waitServers(a, addresses(hosts, "C")...)
	l.write(group(addresses(hosts, "AC")))
	weirtest.WaitSaved(t, state, `"withheld"`)
	w.Reload(a.AddTo(config.String()))
	waitServers(a, addresses(hosts, "C")...)
	nettest.Wait(t, weirtest.Bound(5*time.Second), "the removed server to be listed", func() bool {
		return strings.Contains(a.MustRunCommand("discover", "c"), "removed by an operator")
	})
	require.Equal(t, addresses(hosts, "C"), servers(a, 0))
	require.Empty(t, problems(a))
	w.Kill()
	weirtest.Start(t, a.AddTo(config.String()))
	waitServers(a, addresses(hosts, "C")...)
	a.MustRunCommand("server", "c/"+gone, "restore")
	waitServers(a, addresses(hosts, "AC")...)
}

// An override stays while the server comes and goes, also over a restart; verdicts stay within drain_timeout.
func TestReturningServerKeepsState(t *testing.T) {
	t.Parallel()
	hosts := greeters(t, "AB")
	l := newList(t)
	l.write(group(addresses(hosts, "AB")))
	line, state := weirtest.StateFile(t)
	config := found(l.keys())
	config.Runtime, config.Listen = line, nettest.Reserve(t)
	sick := nettest.Reserve(t)
	_, port, _ := strings.Cut(sick, ":")
	config.Checks += "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\nrise = 1000\nfall = 1\nport = " + port + "\nservers = [\"" + hosts["A"].Addr() + "\"]\n"
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(config.String()))
	w.WaitEvent("server_down", hosts["A"].Addr())
	a.MustRunCommand("server", "c/"+hosts["B"].Addr(), "weight", "7")
	session := nettest.Dial(t, config.Listen)
	require.Equal(t, "B", weirtest.ReadByte(t, session))
	l.write(group([]string{"127.0.0.1:1"}))
	waitServers(a, "127.0.0.1:1")
	healthy := nettest.StartAt(t, sick, nettest.Echo)
	defer healthy.Close()
	l.write(group(addresses(hosts, "AB")))
	waitServers(a, addresses(hosts, "AB")...)
	require.Equal(t, "down", a.Server(hosts["A"].Addr())["state"], "it needs rise successes, as before it left")
	b := a.Server(hosts["B"].Addr())
	require.Equal(t, []any{7.0, 1.0}, []any{b["weight"], b["sessions"]})
	require.NoError(t, weirtest.PingPong(session))
	session.Close()

	l.write(group(addresses(hosts, "A")))
	waitServers(a, addresses(hosts, "A")...)
	weirtest.WaitSaved(t, state, `"weight": 7`)
	w.Kill()
	weirtest.Start(t, a.AddTo(config.String()))
	waitServers(a, addresses(hosts, "A")...)
	l.write(group(addresses(hosts, "AB")))
	waitServers(a, addresses(hosts, "AB")...)
	require.Equal(t, 7.0, a.Server(hosts["B"].Addr())["weight"])
}

// A file that is replaced through a symbolic link, as configuration maps are, is read; and one that is written slowly is read
// when it is complete.
func TestFileReplacedOrWritten(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	dir := t.TempDir()
	for _, letter := range []string{"A", "B"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, letter), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, letter, "servers.json"), []byte(text(t, group(addresses(hosts, letter)))), 0o644))
	}
	link := func(to string) {
		require.NoError(t, os.Symlink(to, filepath.Join(dir, "next")))
		require.NoError(t, os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "data")))
	}
	link("A")
	l := list{t, filepath.Join(dir, "data", "servers.json")}
	_, _, a := weirtest.ServeAPI(t, found(l.keys()))
	waitServers(a, addresses(hosts, "A")...)
	link("B")
	waitServers(a, addresses(hosts, "B")...)

	whole := text(t, group(addresses(hosts, "C")))
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_TRUNC, 0)
	require.NoError(t, err)
	defer f.Close()
	for i := range whole {
		_, err := f.WriteString(whole[i : i+1])
		require.NoError(t, err)
		time.Sleep(2 * time.Millisecond)
	}
	waitServers(a, addresses(hosts, "C")...)
	require.Equal(t, "0", a.Metric(`weir_discovery_failures_total{cluster="c",level="1",type="file"}`))
}

// A reload keeps the servers of a provider that stays, drops those of one that leaves, and waits for the first answer of a new
// one. Plans do not ask providers.
func TestReloadOfProviders(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	one, two := newList(t), newList(t)
	one.write(group(addresses(hosts, "A")))
	two.write(group(addresses(hosts, "B")))
	config := found(one.keys())
	w, listen, a := weirtest.ServeAPI(t, config)
	config.Listen = listen
	asked := a.Metric(`weir_discovery_questions_total{cluster="c",level="1",type="file"}`)
	plan := filepath.Join(t.TempDir(), "weir.toml")
	with := config
	with.Checks = "[cluster.c.level.discover]\n" + two.keys() + "keep_on_empty = false\n"
	require.NoError(t, os.WriteFile(plan, []byte(a.AddTo(with.String())), 0o644))
	out := a.MustRunCommand("plan", "-c", plan)
	require.Contains(t, out, fmt.Sprintf("discover.path in level #1 %q → %q", one.path, two.path))
	require.Contains(t, out, "discover.keep_on_empty in level #1 true → false")
	require.NotContains(t, out, "server c/")
	require.Equal(t, asked, a.Metric(`weir_discovery_questions_total{cluster="c",level="1",type="file"}`))

	options := config
	options.Checks += "server = { max_sessions = 3 }\n"
	w.Reload(a.AddTo(options.String()))
	require.Equal(t, 3.0, a.Server(hosts["A"].Addr())["max_sessions"])
	w.Reload(a.AddTo(with.String()))
	require.Equal(t, "BB", weirtest.ReadSessions(t, listen, 2), "from the first session on")
	one.write(group(addresses(hosts, "C")))
	without := config
	without.Levels, without.Checks = weirtest.OneLevel(hosts["C"].Addr()), ""
	w.Reload(a.AddTo(without.String()))
	require.Equal(t, []string{hosts["C"].Addr()}, servers(a, 0))
	require.Contains(t, a.MustRunCommand("discover", "c"), "no level has a provider")
	code, out := a.RunCommand("discover", "d")
	require.NotZero(t, code)
	require.Contains(t, out, "no cluster d")
}

// An upgrade continues with the servers that were found, although the provider fails, and sessions continue.
func TestUpgradeKeepsFoundServers(t *testing.T) {
	t.Parallel()
	hosts := greeters(t, "AB")
	l := newList(t)
	l.write(group(addresses(hosts, "A"), "weight=4"))
	config := found(l.keys())
	config.Listen = nettest.Reserve(t)
	a := weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, a.AddTo(config.String()))
	session := nettest.Dial(t, config.Listen)
	require.Equal(t, "A", weirtest.ReadByte(t, session))
	require.NoError(t, os.Remove(l.path))
	waitProblem(a, "no such file")
	w.Upgrade()
	require.NoError(t, weirtest.PingPong(session))
	require.Equal(t, "A", firstBytes(t, config.Listen, 1))
	require.Equal(t, 4.0, a.Server(hosts["A"].Addr())["weight"])
	l.write(group(addresses(hosts, "B")))
	waitServers(a, addresses(hosts, "B")...)
	session.Close()
}

// A start waits for the first answer of a provider at most for its timeout.
func TestStartWithoutAnswer(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "A")
	l := newList(t)
	_, _, a := weirtest.ServeAPI(t, found(l.keys()))
	require.Contains(t, problems(a), "provider of level 1 (file) has not answered yet")
	l.write(group(addresses(hosts, "A")))
	waitServers(a, addresses(hosts, "A")...)
	waitNoProblem(a)
}
