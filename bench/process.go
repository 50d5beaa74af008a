package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	startTimeout = 20 * time.Second
	stopTimeout  = 3 * time.Second
	// probePatience is how long a probe waits for its end.
	probePatience = 200 * time.Millisecond
)

// process is a server, a proxy or a long-running generator that this program started and will stop.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.Closer // closing it asks one of our own processes to end
	log    string    // file with what it printed
	ended  chan struct{}
	endErr error // valid once ended is closed
}

// killOnExit prefixes a command so that the kernel kills it if this program dies without stopping it.
func killOnExit(argv []string) []string {
	return append([]string{"setpriv", "--pdeathsig", "TERM", "--"}, argv...)
}

// startProcess starts a command, its output in dir. The caller stops it.
func startProcess(name, dir string, argv []string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	argv = killOnExit(argv)
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() { // ends with the process; stop waits for it
		p.endErr = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process and waits for it: an interrupt first; after stopTimeout it and its descendants are killed.
func (p *process) stop() {
	_ = p.stdin.Close()
	children, _ := descendants(p.pid())
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.ended:
		return
	case <-time.After(stopTimeout):
	}
	for _, pid := range children {
		if child, err := os.FindProcess(pid); err == nil {
			_ = child.Kill()
		}
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// waitListening returns once address accepts a connection, and the connection has ended there too: a proxy that has just
// started, or its server, would otherwise still be occupied with it when the load begins. A server that does not end a
// connection whose client has nothing to say gets probePatience.
func (p *process) waitListening(ctx context.Context, address string) error {
	return p.await(ctx, "listening on "+address, func() bool {
		conn, err := net.DialTimeout("tcp4", address, time.Second)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(probePatience))
		_, _ = io.Copy(io.Discard, conn)
		return true
	})
}

// waitPrinted returns once the process has printed text.
func (p *process) waitPrinted(ctx context.Context, text string) error {
	return p.await(ctx, "printing "+text, func() bool {
		out, err := os.ReadFile(p.log)
		return err == nil && bytes.Contains(out, []byte(text))
	})
}

// await polls until a condition holds. An ended process, a cancelled context and startTimeout are errors.
func (p *process) await(ctx context.Context, what string, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !done() {
		select {
		case <-again.C:
		case <-p.ended:
			return p.failure(fmt.Errorf("ended before %s (%v)", what, p.endErr))
		case <-ctx.Done():
			return p.failure(fmt.Errorf("waiting for %s: %w", what, ctx.Err()))
		}
	}
	return nil
}

// failure adds the process's name and its last output to an error.
func (p *process) failure(err error) error {
	out, _ := os.ReadFile(p.log)
	out = bytes.TrimSpace(out[max(0, len(out)-600):])
	return fmt.Errorf("%s: %w: %s", p.name, err, out)
}

// generated is the output and the CPU use of a load generator that ran to its end.
type generated struct {
	out []byte
	cpu time.Duration // user plus system
}

// generate runs a load generator to its end.
func generate(ctx context.Context, argv []string) (generated, error) {
	name := filepath.Base(argv[0])
	argv = killOnExit(argv)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = stopTimeout
	var errText bytes.Buffer
	cmd.Stderr = &errText
	out, err := cmd.Output()
	if err := ctx.Err(); err != nil {
		return generated{}, err
	}
	if err != nil {
		return generated{}, fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(errText.Bytes()))
	}
	if len(out) == 0 {
		return generated{}, fmt.Errorf("%s: %w", name, errors.New("said nothing"))
	}
	return generated{out: out, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}
