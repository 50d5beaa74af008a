package cli

// The effect of the keys of weir top.

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

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
	topFetch // what the view needs and the screen does not have
	topPatch
	topKill
)

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
	case s.doc == nil && key == "q":
		return topAction{kind: topQuit}
	case s.help:
		if !s.scroll(key) {
			s.help, s.scrolled = false, 0
		}
	case s.doc == nil:
		s.help = key == "?"
	case s.view == viewServers:
		return s.listKey(key)
	default:
		return s.textKey(key)
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

// listKey handles a key in the list of servers.
func (s *screen) listKey(key string) topAction {
	switch key {
	case "q":
		return topAction{kind: topQuit}
	case "up", "k":
		s.move(s.at - 1)
	case "down", "j":
		s.move(s.at + 1)
	case "pgup":
		s.move(s.at - s.page)
	case "pgdown", "space":
		s.move(s.at + s.page)
	case "home", "g":
		s.move(0)
	case "end", "G":
		s.move(len(s.rows) - 1)
	case "s":
		s.order, s.moved = (s.order+1)%len(orders()), false
		s.arrange()
	case "S":
		s.reversed, s.moved = !s.reversed, false
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
		if len(s.rows) > 0 {
			s.moved = true
			s.open(viewServer)
			return topAction{kind: topFetch}
		}
	default:
		return s.anyKey(key)
	}
	return topAction{}
}

// move selects a row for the operator.
func (s *screen) move(at int) {
	s.moved = true
	s.selectRow(at)
}

// textKey handles a key in a view of text.
func (s *screen) textKey(key string) topAction {
	switch {
	case s.scroll(key):
	case key == "esc" || key == "q" || s.view == viewServer && (key == "enter" || key == "e") ||
		s.view == viewProblems && key == "p" || s.view == viewFleet && key == "f":
		s.open(viewServers)
	case s.view == viewServer && (key == "left" || key == "right"):
		step := 1
		if key == "left" {
			step = -1
		}
		s.selectRow(s.at + step)
		s.scrolled = 0
		return topAction{kind: topFetch}
	default:
		return s.anyKey(key)
	}
	return topAction{}
}

// anyKey handles a key that has the same effect in all views.
func (s *screen) anyKey(key string) topAction {
	switch key {
	case "?", "h":
		s.help, s.scrolled = true, 0
	case "p":
		s.open(viewProblems)
	case "f":
		if !s.hasFleet() {
			s.setMessage("weir has no [fleet]")
			break
		}
		s.open(viewFleet)
		return topAction{kind: topFetch}
	case "d", "r", "m", "z", "K":
		if s.view == viewServers || s.view == viewServer {
			return s.change(key)
		}
	}
	return topAction{}
}

// scroll handles a key that scrolls text, and reports whether it is one. Drawing limits how far.
func (s *screen) scroll(key string) bool {
	switch key {
	case "up", "k":
		s.scrolled--
	case "down", "j":
		s.scrolled++
	case "pgup":
		s.scrolled -= s.page
	case "pgdown", "space":
		s.scrolled += s.page
	case "home", "g":
		s.scrolled = 0
	case "end", "G":
		s.scrolled = 1 << 30
	default:
		return false
	}
	s.scrolled = max(0, s.scrolled)
	return true
}

// change returns the action of a key for the selected server. Actions that can cut sessions wait for confirmation, and so do those on a
// row that the next response may replace.
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
	fleeting := !s.moved && len(s.rows) > 1 && orders()[s.order] != "file" && orders()[s.order] != "name"
	if key == "m" || key == "K" || fleeting {
		s.pending = &action
		return topAction{}
	}
	return action
}

// question returns the confirmation prompt of the pending action.
func (s *screen) question(width int) string {
	before, after := "set ", ""
	switch state, reset := s.pending.patch["state"]; {
	case s.pending.kind == topKill:
		n := 0
		if s.at < len(s.rows) && s.rows[s.at].rowKey == s.selected {
			n = s.rows[s.at].Sessions
		}
		before = fmt.Sprintf("kill all %d sessions of ", n)
	case reset && state == nil:
		before = "reset "
	default:
		after = fmt.Sprintf(" to %s", state)
	}
	after += "? y/n"
	return before + shortName(s.pending.cluster, s.pending.server, max(8, width-len(before)-len(after))) + after
}
