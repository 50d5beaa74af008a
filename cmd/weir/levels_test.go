package main_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// named gives the levels of a configuration their names, in order; keys may follow a name after a newline.
func named(config string, names ...string) string {
	for _, name := range names {
		name, keys, _ := strings.Cut(name, "\n")
		config = strings.Replace(config, "[[cluster.c.level]]\n\n", fmt.Sprintf("[[cluster.c.level]]\nname = %q\n%s\n", name, keys), 1)
	}
	return config
}

// further is another listener of cluster c with levels of its own.
func further(name, addr, levels string) string {
	return fmt.Sprintf("[[listener]]\nname = %q\naddress = %q\ncluster = \"c\"\nlevels = %s\n", name, addr, levels)
}

// events are the records of events of these kinds, as "event level server from→to" without what is empty.
func (w *weir) events(kinds ...string) []string {
	var out []string
	for _, r := range w.all(func(r record) bool {
		for _, k := range kinds {
			if r.str("event") == k {
				return true
			}
		}
		return false
	}) {
		text := r.str("event") + " " + r.str("cluster_level")
		if r.str("server") != "" {
			text += " " + r.str("server")
		}
		if r.str("from") != "" {
			text += " " + r.str("from") + "→" + r.str("to")
		}
		out = append(out, text)
	}
	return out
}

// told waits until so many events of a kind have been told.
func (w *weir) told(event string, n int) {
	w.t.Helper()
	nettest.Wait(w.t, 5*time.Second, fmt.Sprintf("%d × %s", n, event), func() bool { return len(w.events(event)) >= n })
}

// Listeners choose levels by name or number, in any order; a reload that moves a level takes the names along.
func TestLevelsByNameAndNumber(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "ABC")
	byName, byNumber, mixed := nettest.Reserve(t), nettest.Reserve(t), nettest.Reserve(t)
	l := layout{
		listen: nettest.Reserve(t), levels: [][]string{weighted(hosts, "A"), weighted(hosts, "B"), weighted(hosts, "C")},
		more: further("name", byName, `["far", "near"]`) + further("number", byNumber, "[2]") + further("mixed", mixed, `[3, "middle"]`),
	}
	w := start(t, named(l.String(), "near", "middle", "far"))
	require.Equal(t, "A", sequence(t, l.listen, 1))
	require.Equal(t, "C", sequence(t, byName, 1))
	require.Equal(t, "B", sequence(t, byNumber, 1))
	require.Equal(t, "C", sequence(t, mixed, 1))

	l.levels[0], l.levels[2] = l.levels[2], l.levels[0]
	w.reload(named(l.String(), "far", "middle", "near"))
	require.Equal(t, "C", sequence(t, l.listen, 1))
	require.Equal(t, "C", sequence(t, byName, 1), "the level far, wherever it stands")
	require.Equal(t, "B", sequence(t, byNumber, 1))
	require.Equal(t, "A", sequence(t, mixed, 1), "the third level, whatever its name")

	hosts["C"].Down()
	require.Equal(t, "A", sequence(t, byName, 1))
	for _, bad := range []string{`["far", "nowhere"]`, "[4]", "[0]", `["far", "far"]`, `["far", 1]`} {
		wrong := l
		wrong.more = further("name", byName, bad)
		r := w.reloadFails(named(wrong.String(), "far", "middle", "near"))
		require.Contains(t, r.str("error"), "levels", bad)
	}
	require.Equal(t, "A", sequence(t, byName, 1))
}

// The session's record names the level that served.
func TestRecordNamesTheLevel(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "BC")
	second := nettest.Reserve(t)
	l := layout{
		listen: nettest.Reserve(t), more: further("second", second, `["dc2"]`),
		levels: [][]string{{nettest.Reserve(t)}, weighted(hosts, "B"), weighted(hosts, "C")},
	}
	w := start(t, named(l.String(), "dc1", "dc2"))
	for _, at := range []string{l.listen, second} {
		c := nettest.Dial(t, at)
		data, _ := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, "B", string(data))
		c.Close()
		require.Equal(t, "dc2", w.session(c).str("cluster_level"))
	}
	hosts["B"].Down()
	c := nettest.Dial(t, l.listen)
	data, _ := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(t, "C", string(data))
	c.Close()
	require.Equal(t, "3", w.session(c).str("cluster_level"), "a level without a name is called by its number")
}

// A level that has lost too many servers gives way to the next; when no level has enough, the first one with anybody
// serves.
func TestMinUpOfNobody(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "ABCD")
	l := layout{
		listen: nettest.Reserve(t), checks: passing,
		levels: [][]string{weighted(hosts, "A B"), weighted(hosts, "C D")},
	}
	w := start(t, named(l.String(), "one\nmin_up = 2", "two\nmin_up = 2"))
	require.Equal(t, "ABAB", sequence(t, l.listen, 4))
	hosts["A"].Down()
	w.told("level_change", 1)
	require.Contains(t, []string{"CDCD", "DCDC"}, sequence(t, l.listen, 4))
	hosts["C"].Down()
	w.told("level_change", 2)
	require.Equal(t, "BBBB", sequence(t, l.listen, 4))
	hosts["B"].Down()
	w.told("level_change", 3)
	require.Equal(t, "DDDD", sequence(t, l.listen, 4))
	hosts["A"].Up()
	hosts["B"].Up()
	w.told("server_up", 2)
	require.Contains(t, []string{"ABAB", "BABA"}, sequence(t, l.listen, 4))
	w.told("level_change", 4)
	there, back := "level_change two one→two", "level_change one two→one"
	require.Equal(t, []string{there, back, there, back}, w.events("level_change"))
	require.Empty(t, w.events("cluster_empty", "cluster_back"))
}

// A level's own try sends a session on to the next level, though the level has further servers; the cluster's try counts
// over all of them.
func TestTryOfALevel(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "CD")
	dead := []string{nettest.Reserve(t), nettest.Reserve(t), nettest.Reserve(t)}
	for _, c := range []struct {
		try      string
		attempts int
	}{{"try = 2", 3}, {"try = 1", 2}, {"try = 0", 4}} {
		t.Run(c.try, func(t *testing.T) {
			t.Parallel()
			l := layout{
				listen: nettest.Reserve(t), cluster: "max_fails = 0",
				levels: [][]string{dead, weighted(hosts, "C"), weighted(hosts, "D")},
			}
			w := start(t, named(l.String(), "one\n"+c.try))
			conn := nettest.Dial(t, l.listen)
			data, _ := nettest.ReadToEnd(conn, 5*time.Second)
			conn.Close()
			require.Equal(t, "C", string(data))
			require.Equal(t, c.attempts, w.session(conn).num("attempts"))
		})
	}
	l := layout{
		listen: nettest.Reserve(t), cluster: "max_fails = 0\ntry = 2",
		levels: [][]string{dead, dead[:1], weighted(hosts, "D")},
	}
	start(t, named(l.String(), "one\ntry = 1", "two\ntry = 1"))
	require.Equal(t, "--", sequence(t, l.listen, 2), "one attempt in each level is two")
}

// Whoever takes over is told once, and so is the way back; the file decides whether there is one.
func TestFailback(t *testing.T) {
	t.Parallel()
	for _, failback := range []string{"auto", "manual"} {
		t.Run(failback, func(t *testing.T) {
			t.Parallel()
			hosts := letters(t, "ABC")
			l := layout{
				listen: nettest.Reserve(t), cluster: fmt.Sprintf("failback = %q", failback), checks: passing,
				levels: [][]string{weighted(hosts, "A"), weighted(hosts, "B"), weighted(hosts, "C")},
			}
			w := start(t, named(l.String(), "near", "middle", "far"))
			require.Equal(t, "AA", sequence(t, l.listen, 2))
			hosts["A"].Down()
			w.told("level_change", 1)
			require.Equal(t, "BB", sequence(t, l.listen, 2))
			hosts["A"].Up()
			w.waitEvent("server_up", "A")
			want := []string{"level_change middle near→middle", "level_change near middle→near"}
			if failback == "auto" {
				require.Equal(t, "AAAA", sequence(t, l.listen, 4))
				w.told("level_change", 2)
				require.Equal(t, want, w.events("level_change"))
				return
			}
			require.Equal(t, "BBBB", sequence(t, l.listen, 4), "it stays")
			l.cluster += "\ntry_timeout = \"9s\""
			w.reload(named(l.String(), "near", "middle", "far"))
			require.Equal(t, "BBBB", sequence(t, l.listen, 4), "through a reload, too")
			require.Equal(t, want[:1], w.events("level_change"))
			hosts["B"].Down()
			w.told("level_change", 2)
			require.Equal(t, "AAAA", sequence(t, l.listen, 4), "until it fails")
			require.Equal(t, want, w.events("level_change"))
		})
	}
}

// A listener with levels of its own is served by them whatever level the cluster as a whole is in, and with protection
// its last server is kept though others elsewhere are up.
func TestListenerLevelsWhileServersFail(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "AB")
	second := nettest.Reserve(t)
	for protected, want := range map[bool]string{true: "BB", false: "--"} {
		check := strings.Replace(failing(t), "type", "servers = [\"B\"]\ntype", 1)
		l := layout{
			listen: nettest.Reserve(t), checks: check, cluster: fmt.Sprintf("protected = %v", protected),
			levels: [][]string{weighted(hosts, "A"), weighted(hosts, "B")}, more: further("second", second, "[2]"),
		}
		w := start(t, l.String())
		w.waitEvent("server_down", "B")
		require.Equal(t, want, sequence(t, second, 2))
		require.Equal(t, "AA", sequence(t, l.listen, 2))
		require.Empty(t, w.events("level_change", "cluster_empty", "cluster_back"))
		w.signal(syscall.SIGTERM)
		w.exit(5 * time.Second)
	}
}

// A whole cluster that goes and comes back says so once, whatever the order.
func TestClusterEmptyAndBack(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "ABC")
	l := layout{
		listen: nettest.Reserve(t), cluster: "protected = false", checks: passing,
		levels: [][]string{weighted(hosts, "A B"), weighted(hosts, "C")},
	}
	w := start(t, l.String())
	for round := 1; round <= 2; round++ {
		for _, h := range hosts {
			h.Down()
		}
		w.told("server_down", 3*round)
		w.told("cluster_empty", round)
		require.Equal(t, "-", sequence(t, l.listen, 1))
		for _, h := range hosts {
			h.Up()
		}
		w.told("server_up", 3*round)
		w.told("cluster_back", round)
		require.NotContains(t, sequence(t, l.listen, 4), "-")
		nettest.Wait(t, 5*time.Second, "the first level", func() bool { return sequence(t, l.listen, 1) != "C" })
	}
	require.Len(t, w.events("server_down"), 6)
	require.Len(t, w.events("server_up"), 6)
	require.Len(t, w.events("cluster_empty"), 2)
	require.Len(t, w.events("cluster_back"), 2)
	changes := w.events("level_change")
	for i := 1; i < len(changes); i++ {
		require.NotEqual(t, changes[i-1], changes[i], "to and fro, never twice the same way")
	}
}
