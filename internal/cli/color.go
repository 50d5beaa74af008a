package cli

import (
	"io"
	"os"
	"strings"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"

	"weir/internal/status"
)

// palette renders text in colour, or unchanged if it is false.
type palette bool

// paletteFor returns colour for a terminal, unless NO_COLOR is set to anything (https://no-color.org).
func paletteFor(w io.Writer) palette {
	f, ok := w.(*os.File)
	return palette(ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

var (
	plainStyle = lipgloss.NewStyle()
	bold       = plainStyle.Bold(true)
	reverse    = plainStyle.Reverse(true)
	red        = plainStyle.Foreground(lipgloss.Red)
	green      = plainStyle.Foreground(lipgloss.Green)
	yellow     = plainStyle.Foreground(lipgloss.Yellow)
	blue       = plainStyle.Foreground(lipgloss.Cyan)
	alert      = red.Bold(true)
)

func (p palette) render(style lipgloss.Style, text string) string {
	if !p {
		return text
	}
	return style.Render(text)
}

// The styles of states of servers, of severities of problems (without one there is no problem) and of events. Others are plain.
var (
	stateStyles = map[string]lipgloss.Style{
		"up": green, "down": red, "failing": red, "unresolved": red, "unstable": red,
		"probation": yellow, "full": yellow, "drain": blue, "maint": blue, "standby": blue,
	}
	severityStyles = map[string]lipgloss.Style{"": green, status.Critical: alert, status.Warning: yellow, status.Note: blue}
	eventStyles    = map[string]lipgloss.Style{
		"cluster_empty": alert, "server_down": red, "reload_failed": red, "reload_stale": red, "upgrade_failed": red, "rollout_failed": red,
		"level_change": yellow, "session_refused": yellow, "server_up": green, "cluster_back": green,
	}
)

// state renders the name of a server's state, which spaces may follow.
func (p palette) state(text string) string {
	return p.render(stateStyles[strings.TrimRight(text, " ")], text)
}

// severity renders a line about a problem.
func (p palette) severity(severity, text string) string {
	return p.render(severityStyles[severity], text)
}

// event renders a line about an event.
func (p palette) event(event, text string) string { return p.render(eventStyles[event], text) }
