package cli

// What weir top shows, and what its keys do: no terminal and no network, so that it can be tested as it is.

import (
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"weir/internal/status"
)

// screen is the state of weir top between two keys.
type screen struct {
	ink   ink
	doc   *status.Document
	rates rates
	lost  string // why there is no newer document; "" = it is new
	since time.Time

	rows     []topRow // what is shown of doc
	chosen   rowKey   // the row that keys are about
	at       int      // where it is in rows
	first    int      // the first row on the screen
	page     int      // how many rows there were room for
	order    int      // among orders
	badOnly  bool
	filter   string
	typing   bool   // the filter is being typed
	explain  bool   // the chosen server's layers are shown
	help     bool   // the keys are shown
	sure     *topDo // what is asked about once more
	message  string
	messaged time.Time
}

// messageTime is how long a message stays.
const messageTime = 6 * time.Second

// topDo is what a key asks for beyond the screen.
type topDo struct {
	what            int
	cluster, server string
	patch           map[string]any
}

// What a key may ask for.
const (
	topNothing = iota
	topQuit
	topSuspend
	topPatch
	topKill
)

func newScreen(colours bool) *screen { return &screen{ink: ink(colours), page: 1} }

// show takes in a new document.
func (s *screen) show(doc *status.Document) {
	s.doc, s.lost = doc, ""
	s.rates.next(doc)
	s.arrange()
}

// lose says that there is no newer document.
func (s *screen) lose(err error) {
	if s.lost == "" {
		s.since = time.Now()
	}
	s.lost = err.Error()
}

func (s *screen) tell(message string) { s.message, s.messaged = message, time.Now() }

// arrange makes the rows anew. The chosen row stays chosen wherever it is now; if it is gone, its place is.
func (s *screen) arrange() {
	if s.doc == nil {
		return
	}
	s.rows = rowsOf(s.doc, &s.rates, s.filter, orders()[s.order], s.badOnly)
	if i := slices.IndexFunc(s.rows, func(r topRow) bool { return r.rowKey == s.chosen }); i >= 0 {
		s.at = i
	}
	s.choose(s.at)
}

// choose moves to a row, or the nearest that there is.
func (s *screen) choose(at int) {
	s.at = max(0, min(at, len(s.rows)-1))
	s.chosen = rowKey{}
	if s.at < len(s.rows) {
		s.chosen = s.rows[s.at].rowKey
	}
}

// press does what a key says.
func (s *screen) press(key string) topDo {
	switch {
	case key == "ctrl-c":
		return topDo{what: topQuit}
	case key == "ctrl-z":
		return topDo{what: topSuspend}
	case s.sure != nil:
		do := *s.sure
		s.sure = nil
		if key == "y" {
			return do
		}
		s.tell("nothing done")
	case s.typing:
		s.typed(key)
	case s.help, s.explain && slices.Contains([]string{"esc", "q", "enter", "e"}, key):
		s.help, s.explain = false, false
	default:
		return s.command(key)
	}
	return topDo{}
}

// maxFilter bounds what may be typed.
const maxFilter = 60

func (s *screen) typed(key string) {
	switch {
	case key == "enter":
		s.typing = false
	case key == "esc":
		s.typing, s.filter = false, ""
	case key == "backspace":
		_, n := utf8.DecodeLastRuneInString(s.filter)
		s.filter = s.filter[:len(s.filter)-n]
	case utf8.RuneCountInString(key) == 1 && len(s.filter) < maxFilter:
		s.filter += key
	}
	s.arrange()
}

func (s *screen) command(key string) topDo {
	switch key {
	case "q":
		return topDo{what: topQuit}
	case "up", "k":
		s.choose(s.at - 1)
	case "down", "j":
		s.choose(s.at + 1)
	case "pgup":
		s.choose(s.at - s.page)
	case "pgdn", " ":
		s.choose(s.at + s.page)
	case "home", "g":
		s.choose(0)
	case "end", "G":
		s.choose(len(s.rows) - 1)
	case "s":
		s.order = (s.order + 1) % len(orders())
		s.arrange()
	case "b":
		s.badOnly = !s.badOnly
		s.arrange()
	case "/":
		s.typing = true
	case "esc":
		s.filter = ""
		s.arrange()
	case "enter", "e":
		s.explain = len(s.rows) > 0
	case "?", "h":
		s.help = true
	case "d", "r", "m", "z", "K":
		return s.change(key)
	}
	return topDo{}
}

// change is what a key does to the chosen server; what cuts sessions, or may, is asked about first.
func (s *screen) change(key string) topDo {
	if len(s.rows) == 0 {
		return topDo{}
	}
	do := topDo{what: topPatch, cluster: s.chosen.cluster, server: s.chosen.server}
	switch key {
	case "d":
		do.patch = map[string]any{"state": "drain"}
	case "r":
		do.patch = map[string]any{"state": "ready"}
	case "z":
		do.patch = map[string]any{"state": nil, "weight": nil, "max_sessions": nil}
	case "m":
		do.patch = map[string]any{"state": "maint"}
		s.sure = &do
	case "K":
		do.what = topKill
		s.sure = &do
	}
	if s.sure != nil {
		return topDo{}
	}
	return do
}

// question is what the answer y is given to.
func (s *screen) question() string {
	name := s.sure.cluster + "/" + s.sure.server
	if s.sure.what == topKill {
		n := 0
		if s.at < len(s.rows) && s.rows[s.at].rowKey == s.chosen {
			n = s.rows[s.at].Sessions
		}
		return fmt.Sprintf("cut all sessions of %s, %d now? y/n", name, n)
	}
	return fmt.Sprintf("take %s out of service? y/n", name)
}
