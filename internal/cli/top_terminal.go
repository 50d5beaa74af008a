package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/term"
)

// drawTimeout bounds one write to the terminal. A terminal that takes nothing for so long is lost.
const drawTimeout = 5 * time.Second

// terminal is the controlling terminal, as input and output of weir top.
type terminal struct {
	file *os.File
	fd   int
	lost context.CancelCauseFunc
	dead atomic.Bool // a write has failed: later ones fail immediately
}

func openTerminal() (*terminal, error) {
	if kind := os.Getenv("TERM"); kind == "" || kind == "dumb" {
		return nil, fmt.Errorf("TERM is %q", kind)
	}
	file, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	t := &terminal{file: file}
	raw, err := file.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { t.fd = int(fd) })
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return t, nil
}

// Fd returns the descriptor. Unlike that of os.File it stays non-blocking, so that writes have deadlines.
func (t *terminal) Fd() uintptr { return uintptr(t.fd) }

func (t *terminal) Name() string { return t.file.Name() }

func (t *terminal) Close() error { return t.file.Close() }

func (t *terminal) Read(p []byte) (int, error) {
	n, err := t.file.Read(p)
	if err != nil {
		t.lost(nil)
	}
	return n, err
}

func (t *terminal) Write(p []byte) (int, error) {
	if t.dead.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	t.file.SetWriteDeadline(time.Now().Add(drawTimeout))
	n, err := t.file.Write(p)
	if err != nil {
		t.dead.Store(true)
		t.lost(err)
	}
	return n, err
}

// drop drops output that the kernel has not passed on: over a slow link, that can be the output of many seconds.
func (t *terminal) drop() {
	const tcflsh = 0x540b                                                                // TCFLSH of Linux; elsewhere it fails
	syscall.Syscall(syscall.SYS_IOCTL, uintptr(t.fd), tcflsh, uintptr(syscall.TCOFLUSH)) // on failure the link shows it first
}

// size returns the size of the terminal, or 80×24 if the terminal does not know it.
func (t *terminal) size() (width, height int) {
	width, height, err := term.GetSize(t.fd)
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// stopProcess stops the process, as ctrl+z does, until SIGCONT. It is a tea.ExecCommand: the terminal is restored meanwhile.
type stopProcess struct{ out *output }

func (p stopProcess) Run() error {
	p.out.flush() // what restores the terminal
	resumed := make(chan os.Signal, 1)
	signal.Notify(resumed, syscall.SIGCONT)
	defer signal.Stop(resumed)
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGSTOP); err != nil {
		return err
	}
	<-resumed // the stop may reach this thread only after Kill has returned
	return nil
}

func (stopProcess) SetStdin(io.Reader)  {}
func (stopProcess) SetStdout(io.Writer) {}
func (stopProcess) SetStderr(io.Writer) {}
