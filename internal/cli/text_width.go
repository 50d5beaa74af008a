package cli

// The width of the output, and texts that are cut or wrapped to it.

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// minWidth is the smallest width that is assumed of a terminal.
const minWidth = 40

// widthOf returns the width of a terminal. Other writers have no limit, so that nothing is cut for a program that reads it.
func widthOf(w io.Writer) int {
	if s, ok := w.(interface{ Width() int }); ok {
		return s.Width()
	}
	f, ok := w.(*os.File)
	if !ok {
		return math.MaxInt
	}
	width, _, err := term.GetSize(int(f.Fd()))
	switch {
	case err != nil:
		return math.MaxInt
	case width == 0: // a serial line without a size
		return 80
	}
	return max(width, minWidth)
}

// printWrapped prints a text in lines of the width, broken at spaces; the first most of them. Later lines are indented by hang.
// A word is never broken.
func printWrapped(w io.Writer, text string, hang, width, most int) {
	for _, line := range wrap(text, hang, width, most) {
		fmt.Fprintln(w, line)
	}
}

// textLines bounds a text in lines of its own.
const textLines = 4

// printText is printWrapped for a text in the width of w, in at most textLines lines.
func printText(w io.Writer, text string, hang int) {
	printWrapped(w, text, hang, widthOf(w), textLines)
}

// wrap is printWrapped that returns the lines.
func wrap(text string, hang, width, most int) (lines []string) {
	rest := []rune(strings.TrimRight(plain(text), " "))
	indent := ""
	for {
		start := len(rest) - len([]rune(strings.TrimLeft(string(rest), " ")))
		room := width - len(indent)
		if len(rest) <= room {
			return append(lines, indent+string(rest))
		}
		at := -1
		for i := start; i < len(rest) && (i <= room || at < 0); i++ {
			if rest[i] == ' ' {
				at = i
			}
		}
		if at < 0 {
			return append(lines, indent+string(rest))
		}
		if len(lines)+1 == most {
			return append(lines, indent+cut(string(rest), room))
		}
		lines = append(lines, indent+strings.TrimRight(string(rest[:at]), " "))
		rest = []rune(strings.TrimLeft(string(rest[at:]), " "))
		indent = strings.Repeat(" ", hang)
	}
}

// nowOf returns the time for which w shows ages.
func nowOf(w io.Writer) time.Time {
	if s, ok := w.(interface{ Now() time.Time }); ok {
		return s.Now()
	}
	return time.Now()
}

// cut makes a text plain and shortens it to most characters.
func cut(s string, most int) string {
	s = plain(s)
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}
