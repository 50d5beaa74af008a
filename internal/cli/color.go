package cli

// Colours, for a terminal that wants them.

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"weir/internal/status"
)

// ink colours texts, or leaves them as they are.
type ink bool

// inkFor is colour on a terminal, unless NO_COLOR is set to anything (https://no-color.org).
func inkFor(w io.Writer) ink {
	f, ok := w.(*os.File)
	return ink(ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

// The colours, as select graphic rendition (ECMA-48, 8.3.117).
const (
	red, green, yellow, blue = "31", "32", "33", "36"
	bold, reverse            = "1", "7"
)

func (k ink) in(how, text string) string {
	if !k || how == "" {
		return text
	}
	return "\x1b[" + how + "m" + text + "\x1b[0m"
}

// state colours the name of a server's state, which blanks may follow.
func (k ink) state(text string) string {
	switch strings.TrimRight(text, " ") {
	case "up":
		return k.in(green, text)
	case "down", "failing", "unresolved", "unstable":
		return k.in(red, text)
	case "probation":
		return k.in(yellow, text)
	case "drain", "maint":
		return k.in(blue, text)
	}
	return text
}

// severity colours the text of a problem. An empty severity means no problem.
func (k ink) severity(severity, text string) string {
	return k.in(map[string]string{"": green, status.Critical: bold + ";" + red, status.Warning: yellow, status.Note: blue}[severity], text)
}

// event colours a line about an event by what it means for clients.
func (k ink) event(event, text string) string {
	return k.in(map[string]string{
		"cluster_empty": bold + ";" + red, "server_down": red, "reload_failed": red,
		"level_change": yellow, "session_refused": yellow, "server_up": green, "cluster_back": green,
	}[event], text)
}
