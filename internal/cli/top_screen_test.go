// Tests of the screen of weir top without a terminal.

package cli

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"weir/internal/status"
)

// docOf returns the document of a process at an uptime, with servers a, b, … of one cluster that have had totals sessions.
func docOf(pid int, at float64, totals ...uint64) *status.Document {
	d := &status.Document{PID: pid, UptimeSeconds: at, Clusters: []status.Cluster{{Name: "c", Level: "1", Levels: []status.Level{{Name: "1"}}}}}
	var sum uint64
	for i, n := range totals {
		d.Clusters[0].Levels[0].Servers = append(d.Clusters[0].Levels[0].Servers,
			status.Server{Name: string(rune('a' + i)), State: "up", SessionsTotal: n, BytesUp: 10 * n, BytesDown: 20 * n})
		sum += n
	}
	d.Listeners = []status.Listener{{Name: "l", Address: "x", Protocol: "tcp", SessionsTotal: sum, BytesUp: 10 * sum, BytesDown: 20 * sum}}
	return d
}

func TestRates(t *testing.T) {
	var r rates
	a := rowKey{cluster: "c", server: "a"}
	r.next(docOf(1, 10, 100))
	require.False(t, r.known)
	r.next(docOf(1, 12, 110, 50))
	require.True(t, r.known)
	require.Equal(t, rate{5, 50, 100, 0}, r.now[a])
	require.NotContains(t, r.now, rowKey{cluster: "c", server: "b"}, "a new server has no rate")
	require.Equal(t, rate{30, 300, 600, 0}, r.total)
	r.next(docOf(1, 13, 0, 50)) // removed and added again
	require.Equal(t, rate{}, r.now[a])
	r.next(docOf(2, 1, 5000, 5000)) // another process
	require.False(t, r.known)
	require.Empty(t, r.now)
}

func TestOrders(t *testing.T) {
	d := docOf(1, 1, 1, 2, 3)
	list := d.Clusters[0].Levels[0].Servers
	list[0].Sessions, list[1].Sessions, list[2].Sessions = 5, 9, 7
	list[2].State = "down"
	list[1].Reason = "Because"
	r := &rates{now: map[rowKey]rate{{cluster: "c", server: "a"}: {1, 2, 9, 0}, {cluster: "c", server: "b"}: {8, 3, 3, 4}}}
	names := func(filter, order string, bad bool) string {
		text := ""
		for _, row := range rowsOf(d, r, arrangement{filter: filter, order: slices.Index(orders(), order), badOnly: bad}) {
			text += row.server
		}
		return text
	}
	for order, want := range map[string]string{"file": "abc", "state": "cab", "sessions": "bca", "new/s": "bac", "bytes/s": "abc", "failures/s": "bac", "name": "abc"} {
		require.Equal(t, want, names("", order, false), order)
		require.Contains(t, orders(), order)
	}
	require.Len(t, orders(), 7)
	require.Equal(t, "c", names("", "file", true))
	require.Equal(t, "b", names("because", "file", false))
	require.Equal(t, "c", names("DOWN", "file", false))
	require.Equal(t, "ac", names("!because", "file", false))
	require.Equal(t, "c", names("c/ down !because", "file", false))
	require.Empty(t, names("down because", "file", false))
	reversed := rowsOf(d, r, arrangement{order: 2, reversed: true})
	require.Equal(t, "a", reversed[0].server)
}

// The selected server stays selected wherever it moves. If it is gone, another is selected, and a pending question is not
// about that one.
func TestSelection(t *testing.T) {
	s := newScreen(false)
	s.show(docOf(1, 1, 1, 2, 3))
	s.press("down")
	require.Equal(t, "b", s.selected.server)
	d := docOf(1, 2, 1, 2, 3)
	list := d.Clusters[0].Levels[0].Servers
	list[0], list[1] = list[1], list[0]
	s.show(d)
	require.Equal(t, "b", s.selected.server)
	require.Equal(t, topAction{}, s.press("K"))
	s.show(docOf(1, 3, 1))
	require.Equal(t, "a", s.selected.server)
	action := s.press("y")
	require.Equal(t, topKill, action.kind)
	require.Equal(t, "b", action.server, "the server in the question")
	s.show(docOf(1, 4))
	require.Equal(t, topAction{}, s.press("d"))
	require.Equal(t, topAction{}, s.press("e"))
}

// The screen fits every terminal, whatever keys are pressed.
func TestScreenFits(t *testing.T) {
	keys := []string{"up", "down", "pgup", "pgdown", "home", "end", "s", "b", "/", "a", "ö", "backspace", "enter", "esc", "e", "?", "d", "r", "m", "z", "K", "y", "n", "space", "p", "f", "S", "left", "right", "q"}
	rapid.Check(t, func(t *rapid.T) {
		s := newScreen(false)
		for i := range rapid.IntRange(1, 30).Draw(t, "steps") {
			d := docOf(1, float64(i+1), rapid.SliceOfN(rapid.Uint64(), 0, 40).Draw(t, "totals")...)
			for j := range d.Clusters[0].Levels[0].Servers {
				x := &d.Clusters[0].Levels[0].Servers[j]
				x.State = rapid.SampledFrom([]string{"up", "down", "maint"}).Draw(t, "state")
				x.Role = rapid.SampledFrom([]string{"", "primary", "replica"}).Draw(t, "role")
				x.Reason = rapid.String().Draw(t, "reason")
				x.Since = time.Now()
			}
			d.Config.LastError = rapid.String().Draw(t, "error")
			if rapid.Bool().Draw(t, "topology") {
				d.Clusters[0].Topology = &status.Topology{Role: "primary", Primary: rapid.String().Draw(t, "primary"), Source: rapid.String().Draw(t, "source")}
			}
			d.FindProblems()
			s.show(d)
			if rapid.Bool().Draw(t, "lost") {
				s.disconnect(fmt.Errorf("no %s", rapid.String().Draw(t, "why")))
			}
			if rapid.Bool().Draw(t, "sessions") {
				s.showSessions(s.selected, []status.Session{{ID: 1, Client: rapid.String().Draw(t, "client"), Phase: "relay"}}, nil)
			}
			if rapid.Bool().Draw(t, "fleet") {
				d.Fleet = &status.FleetLink{}
				f := fleetOf(rapid.String().Draw(t, "node"), rapid.String().Draw(t, "version"))
				s.showFleet(f, nil, []nodeAnswer{{address: rapid.String().Draw(t, "address"), err: rapid.String().Draw(t, "failure")}})
			}
			key := rapid.SampledFrom(keys).Draw(t, "key")
			inView := s.view != viewServers || s.help || s.typing || s.pending != nil
			if quits := s.press(key).kind == topQuit; quits != (key == "q" && !inView) {
				t.Fatal("only q in the list and ctrl+c quit")
			}
			width, height := rapid.IntRange(1, 200).Draw(t, "width"), rapid.IntRange(1, 60).Draw(t, "height")
			lines := s.draw(width, height)
			if len(lines) > height {
				t.Fatalf("%d lines of %d", len(lines), height)
			}
			for _, line := range lines {
				line = stripReverse(line)
				if n := utf8.RuneCountInString(line); n > width {
					t.Fatalf("%d columns of %d: %q", n, width, line)
				}
				if line != plain(line) {
					t.Fatalf("control characters: %q", line)
				}
			}
		}
	})
}

func stripReverse(line string) string {
	return strings.TrimSuffix(strings.TrimPrefix(line, "\x1b[7m"), "\x1b[m")
}
