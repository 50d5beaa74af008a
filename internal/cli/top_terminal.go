package cli

// The terminal as a screen: raw, without echo, and as it was before once it is given back.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// terminal is the controlling terminal. One goroutine draws; the one that keys starts reads.
type terminal struct {
	file   *os.File
	before *term.State // how it was
	read   chan struct{}
}

// What is written to take the whole screen and to give it back (xterm's control sequences): the alternate screen, the
// cursor, and what happens at the right margin.
const (
	takeScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"
	giveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
)

// drawPatience is how long a terminal may take for a screen.
const drawPatience = 5 * time.Second

func openTerminal() (*terminal, error) {
	if kind := os.Getenv("TERM"); kind == "" || kind == "dumb" {
		return nil, fmt.Errorf("TERM is %q", kind)
	}
	file, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	t := &terminal{file: file}
	if err := t.take(); err != nil {
		file.Close()
		return nil, err
	}
	return t, nil
}

// with does something with the descriptor, which stays non-blocking, unlike with os.File.Fd.
func (t *terminal) with(do func(fd int) error) error {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = do(int(fd)) })
	return errors.Join(err, inner)
}

func (t *terminal) take() error {
	err := t.with(func(fd int) (err error) {
		t.before, err = term.MakeRaw(fd)
		return err
	})
	if err == nil {
		err = t.write(takeScreen)
	}
	return err
}

func (t *terminal) give() error {
	return errors.Join(t.write(giveScreen), t.with(func(fd int) error { return term.Restore(fd, t.before) }))
}

// close gives the terminal back and waits for the reader. Whatever keeps the terminal from being written to, its modes
// are those of before.
func (t *terminal) close() {
	t.give()
	t.file.SetReadDeadline(time.Now())
	if t.read != nil {
		<-t.read
	}
	t.file.Close()
}

// suspend gives the terminal back, stops the process until it is to go on, and takes it again.
func (t *terminal) suspend() error {
	if err := t.give(); err != nil {
		return err
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGCONT)
	defer signal.Stop(again)
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGSTOP); err != nil {
		return err
	}
	<-again // another thread may have been stopped first: this one goes on for a moment
	return t.take()
}

func (t *terminal) write(text string) error {
	t.file.SetWriteDeadline(time.Now().Add(drawPatience))
	_, err := t.file.WriteString(text)
	return err
}

// draw shows a screen at the size that the terminal has now.
func (t *terminal) draw(s *screen) error {
	width, height := 80, 24
	t.with(func(fd int) error {
		if w, h, err := term.GetSize(fd); err == nil && w > 0 && h > 0 {
			width, height = w, h
		}
		return nil
	})
	return t.write("\x1b[H" + strings.Join(s.draw(width, height), "\x1b[K\r\n") + "\x1b[K\x1b[J")
}

// keys returns what is typed, key by key, until ctx ends or the terminal is gone: characters as they are, others by
// name. After the channel is closed nothing is read any more.
func (t *terminal) keys(ctx context.Context) <-chan string {
	out := make(chan string)
	t.read = make(chan struct{})
	go func() {
		defer close(t.read)
		defer close(out)
		buf := make([]byte, 256)
		for {
			n, err := t.file.Read(buf)
			if err != nil || n == 0 {
				return
			}
			for _, k := range keysOf(string(buf[:n])) {
				select {
				case out <- k:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}

// keysOf splits what a terminal sends. A sequence is sent in one piece; an escape that stands alone is the key.
func keysOf(text string) []string {
	names := map[string]string{
		"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b[5~": "pgup", "\x1b[6~": "pgdn",
		"\x1b[H": "home", "\x1b[F": "end", "\x1bOH": "home", "\x1bOF": "end", "\x1b[1~": "home", "\x1b[4~": "end",
		"\x1b": "esc", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\x03": "ctrl-c", "\x1a": "ctrl-z", "\x0c": "ctrl-l",
	}
	var keys []string
	for text != "" {
		one := 1
		if text[0] == '\x1b' {
			one = escapeLength(text)
		} else if text[0] >= 0x80 {
			_, one = utf8.DecodeRuneInString(text)
		}
		one = min(one, len(text))
		k, named := names[text[:one]]
		if !named && (text[0] >= ' ' && one == 1 || text[0] >= 0x80) {
			k, named = text[:one], true
		}
		if named {
			keys = append(keys, k)
		}
		text = text[one:]
	}
	return keys
}

// escapeLength is how many bytes at the beginning of a text belong to one control sequence (ECMA-48, 5.4).
func escapeLength(text string) int {
	if len(text) < 2 {
		return 1
	}
	switch text[1] {
	case 'O':
		return 3
	case '[':
		for i := 2; i < len(text); i++ {
			if text[i] >= 0x40 && text[i] <= 0x7e {
				return i + 1
			}
		}
		return len(text)
	}
	return 1
}
