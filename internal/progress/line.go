package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Line shows a text that changes. Other output that goes through Write does not mix with it.
type Line struct {
	out   io.Writer
	width func() int    // of the terminal; nil = no terminal
	pause time.Duration // between two lines elsewhere; 0 = no lines

	mu    sync.Mutex // guards what follows
	shown string     // on the terminal; "" = nothing
	last  string     // line elsewhere
	at    time.Time  // of that line
}

// New returns a line on out. If out is no terminal, a text that has changed is written at most once per pause, and not at all if
// pause is 0.
func New(out io.Writer, pause time.Duration) *Line {
	l := &Line{out: out, pause: pause}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		l.width = func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil || width == 0 {
				return 80
			}
			return width
		}
	}
	return l
}

// Terminal reports whether the line is on a terminal.
func (l *Line) Terminal() bool { return l.width != nil }

// Show shows a text instead of the last one. "" shows nothing.
func (l *Line) Show(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.width == nil {
		if now := time.Now(); text != "" && text != l.last && l.pause > 0 && now.Sub(l.at) >= l.pause {
			l.last, l.at = text, now
			fmt.Fprintln(l.out, text)
		}
		return
	}
	if runes := []rune(text); len(runes) >= l.width() {
		text = string(runes[:max(0, l.width()-2)]) + "…"
	}
	if text == l.shown {
		return
	}
	l.shown = text
	fmt.Fprint(l.out, "\r", text, eraseRest)
}

// eraseRest erases the line from the cursor on: see console_codes(4).
const eraseRest = "\x1b[K"

// Write writes other output, in whole lines.
func (l *Line) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown == "" {
		return l.out.Write(text)
	}
	fmt.Fprint(l.out, "\r", eraseRest)
	n, err := l.out.Write(text)
	if strings.HasSuffix(string(text), "\n") {
		fmt.Fprint(l.out, l.shown)
	}
	return n, err
}

// Every shows the result of text after each interval until the returned function is called, which then shows nothing.
func (l *Line) Every(interval time.Duration, text func() string) (stop func()) {
	ended := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.Show(text())
			case <-ended:
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		close(ended)
		work.Wait()
		l.Show("")
	})
}

// Seconds formats the time that is left, rounded up to whole seconds.
func Seconds(d time.Duration) string {
	return (max(0, d+time.Second-1)).Truncate(time.Second).String()
}
