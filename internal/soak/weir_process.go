package soak

// The process of the weir under test.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// weirProcess is a running weir, also after upgrades.
type weirProcess struct {
	file, socket string
	cmd          *exec.Cmd
	ended        chan struct{}
	http         *http.Client
	log          io.Writer    // receives the other lines of the log
	onRecord     func(record) // called for session records and server events, by one goroutine

	ready chan struct{} // closed when weir is ready
	once  sync.Once

	calls sync.RWMutex // read-locked by requests, write-locked by upgrades

	mu           sync.Mutex
	pid          int      // of the current process
	upgrades     int      // number of upgrades
	stopMessages []string // messages of stopped processes
	otherLines   []string // lines that are not JSON: races, panics
	errors       []string // messages of level ERROR
}

// launch starts weir and waits until it is ready.
func launch(binary, dir, config string, log io.Writer, onRecord func(record)) (*weirProcess, error) {
	p := &weirProcess{
		file: filepath.Join(dir, "weir.toml"), socket: adminSocket(dir), ended: make(chan struct{}), ready: make(chan struct{}), log: log, onRecord: onRecord,
	}
	if err := p.write(config); err != nil {
		return nil, err
	}
	p.http = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", p.socket)
		},
	}}
	p.cmd = exec.Command(binary, "run", "-c", p.file)
	p.cmd.Env = append(os.Environ(), "GORACE=exitcode=66", "GOTRACEBACK=all")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.pid = p.cmd.Process.Pid
	go func() { // ends with the last process that has the log; stop waits for it
		defer close(p.ended)
		p.readLog(stderr)
		_ = p.cmd.Wait()
	}()
	select {
	case <-p.ready:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("weir did not start:\n%s", strings.Join(p.errorLines(), "\n"))
	case <-time.After(20 * time.Second):
		p.kill()
		return nil, errors.New("weir is not ready after 20 s")
	}
}

func adminSocket(dir string) string { return filepath.Join(dir, "admin.sock") }

func (p *weirProcess) write(config string) error {
	if err := os.WriteFile(p.file+".new", []byte(config), 0o644); err != nil {
		return err
	}
	return os.Rename(p.file+".new", p.file)
}

// reload reloads a configuration through the API, which returns the result.
func (p *weirProcess) reload(config string) error {
	if err := p.write(config); err != nil {
		return err
	}
	_, err := p.call(http.MethodPost, "/v1/reload", "")
	return err
}

// hangUp writes a configuration and sends SIGHUP, which waits for nothing.
func (p *weirProcess) hangUp(config string) error {
	p.calls.RLock()
	defer p.calls.RUnlock()
	if err := p.write(config); err != nil {
		return err
	}
	return syscall.Kill(p.serving(), syscall.SIGHUP)
}

// rejectInvalid reloads an invalid configuration and returns an error unless weir rejects it. Then it restores the
// file.
func (p *weirProcess) rejectInvalid(mistaken, good string) error {
	p.calls.RLock()
	defer p.calls.RUnlock()
	if err := p.write(mistaken); err != nil {
		return err
	}
	_, err := p.request(http.MethodPost, "/v1/reload", "")
	if werr := p.write(good); werr != nil {
		return werr
	}
	var no *statusError
	if errors.As(err, &no) && no.status == http.StatusUnprocessableEntity {
		return nil
	}
	return fmt.Errorf("an invalid configuration was not rejected: %v", err)
}

// upgrade upgrades weir to the same program and returns when the old process has ended.
func (p *weirProcess) upgrade() error {
	p.calls.Lock()
	defer p.calls.Unlock()
	old := p.serving()
	if _, err := p.request(http.MethodPost, "/v1/upgrade", ""); err != nil {
		return err
	}
	text, err := p.request(http.MethodGet, "/v1/status", "")
	if err != nil {
		return err
	}
	var now struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal(text, &now); err != nil {
		return err
	}
	if now.PID == old {
		return errors.New("the old process still serves")
	}
	p.mu.Lock()
	p.pid = now.PID
	p.upgrades++
	p.mu.Unlock()
	for end := time.Now().Add(20 * time.Second); running(old); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("process %d still runs 20 s after its upgrade", old)
		}
	}
	p.http.CloseIdleConnections() // the old process has closed its own, and this one may not have noticed
	return nil
}

// suspend stops the current process and logs the suspension. The returned function continues it.
func (p *weirProcess) suspend(log *faultLog) (resume func(), err error) {
	process, err := os.FindProcess(p.serving()) // a pidfd: another process with its number is not stopped
	if err != nil {
		return nil, err
	}
	over := log.begin(suspended, "weir")
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		over()
		return nil, errors.Join(err, process.Release())
	}
	return func() {
		_ = process.Signal(syscall.SIGCONT)
		over() // after it: weir has not run for less than what is logged
		_ = process.Release()
	}, nil
}

func (p *weirProcess) serving() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// running reports whether a process exists and is not a zombie.
func running(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	after := bytes.TrimSpace(text[bytes.LastIndexByte(text, ')')+1:])
	return len(after) > 0 && after[0] != 'Z' && after[0] != 'X'
}

// stop drains weir and returns an error if it does not stop cleanly. During stop_delay weir is not ready and still accepts
// clients at address.
func (p *weirProcess) stop(address string) error {
	_ = syscall.Kill(p.serving(), syscall.SIGTERM)
	begun := time.Now()
	for ready := true; ready && time.Since(begun) < firstStopDelay; {
		_, err := p.request(http.MethodGet, "/readyz", "")
		var no *statusError
		ready = !errors.As(err, &no) || no.status != http.StatusServiceUnavailable
	}
	conn, err := net.Dial("tcp", address)
	if err == nil {
		_ = conn.Close()
	} else if time.Since(begun) < firstStopDelay {
		return fmt.Errorf("during stop_delay: %w", err)
	}
	select {
	case <-p.ended:
	case <-time.After(15 * time.Second):
		p.kill()
		return errors.New("weir still ran 15 s after SIGTERM")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if code := p.cmd.ProcessState.ExitCode(); code != 0 { // of the first process; later ones are not children of this process
		return fmt.Errorf("weir ended with exit code %d", code)
	}
	if len(p.stopMessages) == 0 || !strings.Contains(p.stopMessages[len(p.stopMessages)-1], `"sessions_cut":0`) {
		return fmt.Errorf("weir did not stop as it should: %v", p.stopMessages)
	}
	return nil
}

// goroutines ends weir with SIGQUIT and returns the stacks of its goroutines.
func (p *weirProcess) goroutines() string {
	_ = syscall.Kill(p.serving(), syscall.SIGQUIT)
	<-p.ended
	p.mu.Lock()
	defer p.mu.Unlock()
	text := strings.Join(p.otherLines, "\n")
	p.otherLines = nil
	return text
}

// kill kills weir if it is running.
func (p *weirProcess) kill() {
	select {
	case <-p.ended: // the process number may have been reused
	default:
		_ = syscall.Kill(p.serving(), syscall.SIGKILL)
		<-p.ended
	}
}
