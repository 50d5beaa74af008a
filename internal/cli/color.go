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

// state renders the name of a server's state, which spaces may follow.
func (p palette) state(text string) string {
	style := plainStyle
	switch strings.TrimRight(text, " ") {
	case "up":
		style = green
	case "down", "failing", "unresolved", "unstable":
		style = red
	case "probation", "full":
		style = yellow
	case "drain", "maint", "standby":
		style = blue
	}
	return p.render(style, text)
}

// severity renders a line about a problem; without a severity there is no problem.
func (p palette) severity(severity, text string) string {
	style := plainStyle
	switch severity {
	case "":
		style = green
	case status.Critical:
		style = alert
	case status.Warning:
		style = yellow
	case status.Note:
		style = blue
	}
	return p.render(style, text)
}

// event renders a line about an event.
func (p palette) event(event, text string) string {
	style := plainStyle
	switch event {
	case "cluster_empty":
		style = alert
	case "server_down", "reload_failed", "reload_stale", "upgrade_failed":
		style = red
	case "level_change", "session_refused":
		style = yellow
	case "server_up", "cluster_back":
		style = green
	}
	return p.render(style, text)
}
