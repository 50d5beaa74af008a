package cli

// The state of weir top and the effect of its keys, without a terminal or a network.

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"weir/internal/status"
)

// screen is the state of weir top between two keys.
type screen struct {
	palette   palette
	doc       *status.Document
	rates     rates
	lastError string // of the latest request; "" if doc is its response
	lostAt    time.Time

	rows     []topRow // the rows of doc that pass the filter, in order
	selected rowKey   // the row that keys act on
	at       int      // its index in rows
	first    int      // the first row on the screen
	page     int      // the number of rows that fit
	order    int      // an index of orders()
	badOnly  bool
	filter   string
	typing   bool       // keys edit the filter
	explain  bool       // the layers of the selected server are shown
	help     bool       // the keys are shown
	pending  *topAction // the action that waits for confirmation
	message  string
	messaged time.Time
}

// messageTime is how long a message stays.
const messageTime = 6 * time.Second

// topAction is an effect of a key beyond the screen.
type topAction struct {
	kind            topActionKind
	cluster, server string
	patch           map[string]any
}

type topActionKind int

// The kinds of actions.
const (
	topNothing topActionKind = iota
	topQuit
	topSuspend
	topRedraw
	topPatch
	topKill
)

func newScreen(colour bool) *screen { return &screen{palette: palette(colour), page: 1} }

// show replaces the document.
func (s *screen) show(doc *status.Document) {
	s.doc, s.lastError = doc, ""
	s.rates.next(doc)
	s.arrange()
}

// disconnect records that the request for a newer document failed.
func (s *screen) disconnect(err error) {
	if s.lastError == "" {
		s.lostAt = time.Now()
	}
	s.lastError = err.Error()
}

func (s *screen) setMessage(text string) { s.message, s.messaged = text, time.Now() }

// arrange recomputes the rows. The selected row stays selected wherever it moves; if it is gone, the row in its position is
// selected.
func (s *screen) arrange() {
	if s.doc == nil {
		return
	}
	s.rows = rowsOf(s.doc, &s.rates, s.filter, orders()[s.order], s.badOnly)
	if i := slices.IndexFunc(s.rows, func(r topRow) bool { return r.rowKey == s.selected }); i >= 0 {
		s.at = i
	}
	s.selectRow(s.at)
}

// selectRow selects the row at an index, or the nearest one.
func (s *screen) selectRow(at int) {
	s.at = max(0, min(at, len(s.rows)-1))
	s.selected = rowKey{}
	if s.at < len(s.rows) {
		s.selected = s.rows[s.at].rowKey
	}
}

// press handles a key, named as by tea.Key.
func (s *screen) press(key string) topAction {
	switch {
	case key == "ctrl+c":
		return topAction{kind: topQuit}
	case key == "ctrl+z":
		return topAction{kind: topSuspend}
	case key == "ctrl+l":
		return topAction{kind: topRedraw}
	case s.pending != nil:
		action := *s.pending
		s.pending = nil
		if key == "y" {
			return action
		}
		s.setMessage("cancelled")
	case s.typing:
		s.editFilter(key)
	case s.help, s.explain && slices.Contains([]string{"esc", "q", "enter", "e"}, key):
		s.help, s.explain = false, false
	default:
		return s.command(key)
	}
	return topAction{}
}

// maxFilter bounds the filter, in bytes.
const maxFilter = 60

func (s *screen) editFilter(key string) {
	switch {
	case key == "enter":
		s.typing = false
	case key == "esc":
		s.typing, s.filter = false, ""
	case key == "backspace":
		_, n := utf8.DecodeLastRuneInString(s.filter)
		s.filter = s.filter[:len(s.filter)-n]
	case key == "space":
		s.paste(" ")
	case utf8.RuneCountInString(key) == 1:
		s.paste(key)
	}
	s.arrange()
}

// paste appends text to the filter while it is edited. Pasted text is never taken for keys.
func (s *screen) paste(text string) {
	if s.typing {
		s.filter = strings.ToValidUTF8((s.filter + text)[:min(maxFilter, len(s.filter)+len(text))], "")
		s.arrange()
	}
}

func (s *screen) command(key string) topAction {
	switch key {
	case "q":
		return topAction{kind: topQuit}
	case "up", "k":
		s.selectRow(s.at - 1)
	case "down", "j":
		s.selectRow(s.at + 1)
	case "pgup":
		s.selectRow(s.at - s.page)
	case "pgdown", "space":
		s.selectRow(s.at + s.page)
	case "home", "g":
		s.selectRow(0)
	case "end", "G":
		s.selectRow(len(s.rows) - 1)
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
	return topAction{}
}

// change returns the action of a key for the selected server. Actions that can cut sessions wait for confirmation.
func (s *screen) change(key string) topAction {
	if len(s.rows) == 0 {
		return topAction{}
	}
	action := topAction{kind: topPatch, cluster: s.selected.cluster, server: s.selected.server, patch: map[string]map[string]any{
		"d": {"state": "drain"}, "m": {"state": "maint"}, "r": {"state": "ready"}, "z": {"state": nil, "weight": nil, "max_sessions": nil},
	}[key]}
	if key == "K" {
		action.kind = topKill
	}
	if key == "m" || key == "K" {
		s.pending = &action
		return topAction{}
	}
	return action
}

// question returns the confirmation prompt of the pending action.
func (s *screen) question() string {
	name := s.pending.cluster + "/" + s.pending.server
	if s.pending.kind == topKill {
		n := 0
		if s.at < len(s.rows) && s.rows[s.at].rowKey == s.selected {
			n = s.rows[s.at].Sessions
		}
		return fmt.Sprintf("kill all %d sessions of %s? y/n", n, name)
	}
	return fmt.Sprintf("set %s to maint? y/n", name)
}
