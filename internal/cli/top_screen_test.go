// The screen of weir top without a terminal.

package cli

import (
	"fmt"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"weir/internal/status"
)

func TestKeys(t *testing.T) {
	for text, want := range map[string][]string{
		"jk":             {"j", "k"},
		"\x1b[A\x1b[B":   {"up", "down"},
		"\x1bOA":         {"up"},
		"\x1b[5~\x1b[6~": {"pgup", "pgdn"},
		"\x1b":           {"esc"},
		"\r\x7f\x03\x1a": {"enter", "backspace", "ctrl-c", "ctrl-z"},
		"\x1b[200~q":     {"q"}, // a sequence without a meaning is skipped whole
		"\x1b[1;5C":      nil,
		"\x1b[12":        nil,
		"é\xff":          {"é", "\xff"},
		"\x00\x01":       nil,
	} {
		require.Equal(t, want, keysOf(text), "%q", text)
	}
	rapid.Check(t, func(t *rapid.T) {
		for _, k := range keysOf(rapid.StringOf(rapid.SampledFrom([]rune("\x1b[O1;~Aqä\x00"))).Draw(t, "text")) {
			if k == "" || k[0] == '\x1b' {
				t.Fatalf("no key: %q", k)
			}
		}
	})
}

// docOf is a document at a time of a process, with servers a, b, … of one cluster that have counted so many sessions.
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
	require.Equal(t, rate{5, 50, 100}, r.now[a])
	require.NotContains(t, r.now, rowKey{cluster: "c", server: "b"}, "it is new")
	require.Equal(t, rate{30, 300, 600}, r.total)
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
	r := &rates{now: map[rowKey]rate{{cluster: "c", server: "a"}: {1, 2, 9}, {cluster: "c", server: "b"}: {8, 3, 3}}}
	names := func(filter, order string, bad bool) string {
		text := ""
		for _, row := range rowsOf(d, r, filter, order, bad) {
			text += row.server
		}
		return text
	}
	for order, want := range map[string]string{"file": "abc", "state": "cab", "sessions": "bca", "new/s": "bac", "bytes/s": "abc", "name": "abc"} {
		require.Equal(t, want, names("", order, false), order)
		require.Contains(t, orders(), order)
	}
	require.Len(t, orders(), 6)
	require.Equal(t, "c", names("", "file", true))
	require.Equal(t, "b", names("because", "file", false))
	require.Equal(t, "c", names("DOWN", "file", false))
}

// The chosen server stays chosen wherever it goes; if it is gone, another is, and a question is not about that one.
func TestChosen(t *testing.T) {
	s := newScreen(false)
	s.show(docOf(1, 1, 1, 2, 3))
	s.press("down")
	require.Equal(t, "b", s.chosen.server)
	d := docOf(1, 2, 1, 2, 3)
	list := d.Clusters[0].Levels[0].Servers
	list[0], list[1] = list[1], list[0]
	s.show(d)
	require.Equal(t, "b", s.chosen.server)
	require.Equal(t, topDo{}, s.press("K"))
	s.show(docOf(1, 3, 1))
	require.Equal(t, "a", s.chosen.server)
	do := s.press("y")
	require.Equal(t, topKill, do.what)
	require.Equal(t, "b", do.server, "what was asked about")
	s.show(docOf(1, 4))
	require.Equal(t, topDo{}, s.press("d"))
	require.Equal(t, topDo{}, s.press("e"))
}

// Whatever is pressed and however small the terminal is, what is drawn fits.
func TestScreenFits(t *testing.T) {
	keys := []string{"up", "down", "pgup", "pgdn", "home", "end", "s", "b", "/", "a", "ö", "backspace", "enter", "esc", "e", "?", "d", "r", "m", "z", "K", "y", "n", " "}
	rapid.Check(t, func(t *rapid.T) {
		s := newScreen(false)
		for i := range rapid.IntRange(1, 30).Draw(t, "steps") {
			d := docOf(1, float64(i+1), rapid.SliceOfN(rapid.Uint64(), 0, 40).Draw(t, "totals")...)
			for j := range d.Clusters[0].Levels[0].Servers {
				x := &d.Clusters[0].Levels[0].Servers[j]
				x.State = rapid.SampledFrom([]string{"up", "down", "maint"}).Draw(t, "state")
				x.Reason = rapid.String().Draw(t, "reason")
				x.Since = time.Now()
			}
			d.Config.LastError = rapid.String().Draw(t, "error")
			d.FindProblems()
			s.show(d)
			if rapid.Bool().Draw(t, "lost") {
				s.lose(fmt.Errorf("no %s", rapid.String().Draw(t, "why")))
			}
			if s.press(rapid.SampledFrom(keys).Draw(t, "key")).what == topQuit {
				t.Fatal("only q and ctrl-c leave")
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
	if len(line) > 8 && line[:4] == "\x1b[7m" {
		return line[4 : len(line)-4]
	}
	return line
}
