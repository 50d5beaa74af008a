package health_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// named names the levels of a configuration in order; keys may follow a name after a newline.
func named(config string, names ...string) string {
	for _, name := range names {
		name, keys, _ := strings.Cut(name, "\n")
		config = strings.Replace(config, "[[cluster.c.level]]\n\n", fmt.Sprintf("[[cluster.c.level]]\nname = %q\n%s\n", name, keys), 1)
	}
	return config
}

// further returns another listener of cluster c with levels of its own.
func further(name, addr, levels string) string {
	return fmt.Sprintf("[[listener]]\nname = %q\naddress = %q\ncluster = \"c\"\nlevels = %s\n", name, addr, levels)
}

// Listeners choose levels by name or number, in any order; a reload that moves a level moves its name.
func TestLevelsByNameAndNumber(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	byName, byNumber, mixed := nettest.Reserve(t), nettest.Reserve(t), nettest.Reserve(t)
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Levels: [][]string{weirtest.WeightedLevel(hosts, "A"), weirtest.WeightedLevel(hosts, "B"), weirtest.WeightedLevel(hosts, "C")},
		More: further("name", byName, `["far", "near"]`) + further("number", byNumber, "[2]") + further("mixed", mixed, `[3, "middle"]`),
	}
	w := weirtest.Start(t, named(l.String(), "near", "middle", "far"))
	require.Equal(t, "A", weirtest.ReadSessions(t, l.Listen, 1))
	require.Equal(t, "C", weirtest.ReadSessions(t, byName, 1))
	require.Equal(t, "B", weirtest.ReadSessions(t, byNumber, 1))
	require.Equal(t, "C", weirtest.ReadSessions(t, mixed, 1))

	l.Levels[0], l.Levels[2] = l.Levels[2], l.Levels[0]
	w.Reload(named(l.String(), "far", "middle", "near"))
	require.Equal(t, "C", weirtest.ReadSessions(t, l.Listen, 1))
	require.Equal(t, "C", weirtest.ReadSessions(t, byName, 1), "the level far, wherever it stands")
	require.Equal(t, "B", weirtest.ReadSessions(t, byNumber, 1))
	require.Equal(t, "A", weirtest.ReadSessions(t, mixed, 1), "the third level, whatever its name")

	hosts["C"].Down()
	require.Equal(t, "A", weirtest.ReadSessions(t, byName, 1))
	for _, bad := range []string{`["far", "nowhere"]`, "[4]", "[0]", `["far", "far"]`, `["far", 1]`} {
		wrong := l
		wrong.More = further("name", byName, bad)
		r := w.FailReload(named(wrong.String(), "far", "middle", "near"))
		require.Contains(t, r.Text("error"), "levels", bad)
	}
	require.Equal(t, "A", weirtest.ReadSessions(t, byName, 1))
}

// The session record names the level that served.
func TestRecordNamesTheLevel(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "BC")
	second := nettest.Reserve(t)
	l := weirtest.Config{
		Listen: nettest.Reserve(t), More: further("second", second, `["dc2"]`),
		Levels: [][]string{{nettest.Reserve(t)}, weirtest.WeightedLevel(hosts, "B"), weirtest.WeightedLevel(hosts, "C")},
	}
	w := weirtest.Start(t, named(l.String(), "dc1", "dc2"))
	for _, at := range []string{l.Listen, second} {
		c := nettest.Dial(t, at)
		data, _ := nettest.ReadToEnd(c, 20*time.Second)
		require.Equal(t, "B", string(data))
		c.Close()
		require.Equal(t, "dc2", w.SessionRecord(c).Text("cluster_level"))
	}
	hosts["B"].Down()
	c := nettest.Dial(t, l.Listen)
	data, _ := nettest.ReadToEnd(c, 20*time.Second)
	require.Equal(t, "C", string(data))
	c.Close()
	require.Equal(t, "3", w.SessionRecord(c).Text("cluster_level"), "a level without a name is called by its number")
}

// A level with fewer than min_up servers is left for the next one; if no level has enough, the first one with any
// server up is used.
func TestMinUpWithoutServers(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABCD")
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Checks: weirtest.PassingCheck,
		Levels: [][]string{weirtest.WeightedLevel(hosts, "A B"), weirtest.WeightedLevel(hosts, "C D")},
	}
	w := weirtest.Start(t, named(l.String(), "one\nmin_up = 2", "two\nmin_up = 2"))
	require.Equal(t, "ABAB", weirtest.ReadSessions(t, l.Listen, 4))
	hosts["A"].Down()
	w.WaitEvents("level_change", 1)
	require.Contains(t, []string{"CDCD", "DCDC"}, weirtest.ReadSessions(t, l.Listen, 4))
	hosts["C"].Down()
	w.WaitEvents("level_change", 2)
	require.Equal(t, "BBBB", weirtest.ReadSessions(t, l.Listen, 4))
	hosts["B"].Down()
	w.WaitEvents("level_change", 3)
	require.Equal(t, "DDDD", weirtest.ReadSessions(t, l.Listen, 4))
	hosts["A"].Up()
	hosts["B"].Up()
	w.WaitEvents("server_up", 2)
	require.Contains(t, []string{"ABAB", "BABA"}, weirtest.ReadSessions(t, l.Listen, 4))
	w.WaitEvents("level_change", 4)
	there, back := "level_change two one→two", "level_change one two→one"
	require.Equal(t, []string{there, back, there, back}, w.Events("level_change"))
	require.Empty(t, w.Events("cluster_empty", "cluster_back"))
}

// A level's own try sends a session to the next level even if the level has further servers; the cluster's try counts
// over all levels.
func TestTryOfLevel(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "CD")
	dead := []string{nettest.Reserve(t), nettest.Reserve(t), nettest.Reserve(t)}
	for _, c := range []struct {
		try      string
		attempts int
	}{{"try = 2", 3}, {"try = 1", 2}, {"try = 0", 4}} {
		t.Run(c.try, func(t *testing.T) {
			t.Parallel()
			l := weirtest.Config{
				Listen: nettest.Reserve(t), Cluster: "max_fails = 0",
				Levels: [][]string{dead, weirtest.WeightedLevel(hosts, "C"), weirtest.WeightedLevel(hosts, "D")},
			}
			w := weirtest.Start(t, named(l.String(), "one\n"+c.try))
			conn := nettest.Dial(t, l.Listen)
			data, _ := nettest.ReadToEnd(conn, 20*time.Second)
			conn.Close()
			require.Equal(t, "C", string(data))
			require.Equal(t, c.attempts, w.SessionRecord(conn).Int("attempts"))
		})
	}
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Cluster: "max_fails = 0\ntry = 2",
		Levels: [][]string{dead, dead[:1], weirtest.WeightedLevel(hosts, "D")},
	}
	weirtest.Start(t, named(l.String(), "one\ntry = 1", "two\ntry = 1"))
	require.Equal(t, "--", weirtest.ReadSessions(t, l.Listen, 2), "one attempt in each level is two")
}

// A change of level and the failback cause one event each; the configuration decides whether there is a failback.
func TestFailback(t *testing.T) {
	t.Parallel()
	for _, failback := range []string{"auto", "manual"} {
		t.Run(failback, func(t *testing.T) {
			t.Parallel()
			hosts := weirtest.StartLetters(t, "ABC")
			l := weirtest.Config{
				Listen: nettest.Reserve(t), Cluster: fmt.Sprintf("failback = %q", failback), Checks: weirtest.PassingCheck,
				Levels: [][]string{weirtest.WeightedLevel(hosts, "A"), weirtest.WeightedLevel(hosts, "B"), weirtest.WeightedLevel(hosts, "C")},
			}
			w := weirtest.Start(t, named(l.String(), "near", "middle", "far"))
			require.Equal(t, "AA", weirtest.ReadSessions(t, l.Listen, 2))
			hosts["A"].Down()
			w.WaitEvents("level_change", 1)
			require.Equal(t, "BB", weirtest.ReadSessions(t, l.Listen, 2))
			hosts["A"].Up()
			w.WaitEvent("server_up", "A")
			want := []string{"level_change middle near→middle", "level_change near middle→near"}
			if failback == "auto" {
				require.Equal(t, "AAAA", weirtest.ReadSessions(t, l.Listen, 4))
				w.WaitEvents("level_change", 2)
				require.Equal(t, want, w.Events("level_change"))
				return
			}
			require.Equal(t, "BBBB", weirtest.ReadSessions(t, l.Listen, 4), "it stays")
			l.Cluster += "\ntry_timeout = \"9s\""
			w.Reload(named(l.String(), "near", "middle", "far"))
			require.Equal(t, "BBBB", weirtest.ReadSessions(t, l.Listen, 4), "through a reload, too")
			require.Equal(t, want[:1], w.Events("level_change"))
			hosts["B"].Down()
			w.WaitEvents("level_change", 2)
			require.Equal(t, "AAAA", weirtest.ReadSessions(t, l.Listen, 4), "until it fails")
			require.Equal(t, want, w.Events("level_change"))
		})
	}
}

// A listener with levels of its own uses them whatever level the cluster uses; with protection it keeps its last server
// even if servers of other levels are up.
func TestListenerLevelsWhileServersFail(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	second := nettest.Reserve(t)
	for protected, want := range map[bool]string{true: "BB", false: "--"} {
		check := strings.Replace(failing(t), "type", "servers = [\"B\"]\ntype", 1)
		l := weirtest.Config{
			Listen: nettest.Reserve(t), Checks: check, Cluster: fmt.Sprintf("protected = %v", protected),
			Levels: [][]string{weirtest.WeightedLevel(hosts, "A"), weirtest.WeightedLevel(hosts, "B")}, More: further("second", second, "[2]"),
		}
		w := weirtest.Start(t, l.String())
		w.WaitEvent("server_down", "B")
		require.Equal(t, want, weirtest.ReadSessions(t, second, 2))
		require.Equal(t, "AA", weirtest.ReadSessions(t, l.Listen, 2))
		require.Empty(t, w.Events("level_change", "cluster_empty", "cluster_back"))
		w.Signal(syscall.SIGTERM)
		w.WaitExit(15 * time.Second)
	}
}

// A cluster that becomes empty and returns causes one event each, whatever the order of its servers.
func TestClusterEmptyAndBack(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Cluster: "protected = false", Checks: weirtest.PassingCheck,
		Levels: [][]string{weirtest.WeightedLevel(hosts, "A B"), weirtest.WeightedLevel(hosts, "C")},
	}
	w := weirtest.Start(t, l.String())
	for round := 1; round <= 2; round++ {
		for _, h := range hosts {
			h.Down()
		}
		w.WaitEvents("server_down", 3*round)
		w.WaitEvents("cluster_empty", round)
		require.Equal(t, "-", weirtest.ReadSessions(t, l.Listen, 1))
		for _, h := range hosts {
			h.Up()
		}
		w.WaitEvents("server_up", 3*round)
		w.WaitEvents("cluster_back", round)
		require.NotContains(t, weirtest.ReadSessions(t, l.Listen, 4), "-")
		nettest.Wait(t, 15*time.Second, "the first level", func() bool { return weirtest.ReadSessions(t, l.Listen, 1) != "C" })
	}
	require.Len(t, w.Events("server_down"), 6)
	require.Len(t, w.Events("server_up"), 6)
	require.Len(t, w.Events("cluster_empty"), 2)
	require.Len(t, w.Events("cluster_back"), 2)
	changes := w.Events("level_change")
	for i := 1; i < len(changes); i++ {
		require.NotEqual(t, changes[i-1], changes[i], "to and fro, never twice the same way")
	}
}
