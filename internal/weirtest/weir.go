package weirtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// Options are the conditions under which weir is started.
type Options struct {
	Namespace       *nettest.Namespace // nil = the test's own network
	DescriptorLimit int                // the descriptor limit; 0 = the test's own
	Wrapper         []string           // a program that becomes weir: the command line follows its own arguments
	PIDNamespace    bool               // weir is PID 1 of a PID namespace of its own, with a /proc of its own
	Stderr          *os.File           // instead of the log being read; such a weir is taken to be ready when it listens

	File    string   // the configuration's path; "" = one of the test's own
	Program string   // instead of the binary under test
	Env     []string // added to the test's own
}

// Weir is a running `weir run`.
type Weir struct {
	T        *testing.T
	File     string // its configuration
	Cmd      *exec.Cmd
	Done     chan struct{} // closed when the process has ended
	Baseline map[string]int

	recordOf sync.Map // the connection for which SessionRecord returned a record, by client and time

	mu         sync.Mutex
	records    []Record
	other      []string // lines that are no JSON
	successors []int    // the processes that have taken over, in order
	exitCodes  []int    // with which they ended; valid once done is closed
}

// Serve runs weir with a configuration until the test ends and returns the address to connect to.
func Serve(t *testing.T, l Config) (*Weir, string) {
	t.Helper()
	if l.Listen == "" {
		l.Listen = nettest.Reserve(t)
	}
	return Start(t, l.String()), l.Listen
}

// Start runs weir with a configuration until the test ends. Unless the test stops it, weir must then return to the
// descriptors it had when it was ready, and exit with 0 on SIGTERM. It must not have logged a race or a panic.
func Start(t *testing.T, config string) *Weir {
	t.Helper()
	return Options{}.Start(t, config)
}

func (l Options) Start(t *testing.T, config string) *Weir {
	t.Helper()
	w := l.StartUnready(t, config)
	if l.Stderr == nil {
		w.WaitRecord(patience, "weir to be ready", func(r Record) bool { return r.IsEvent("ready") })
		w.Baseline = w.DescriptorKinds()
		w.Baseline["socket"] = w.Process().Listening() // whatever else is open already belongs to a check
	}
	return w
}

// StartUnready starts the process without waiting for it.
func (l Options) StartUnready(t *testing.T, config string) *Weir {
	t.Helper()
	w := &Weir{T: t, File: l.File, Done: make(chan struct{})}
	if w.File == "" {
		w.File = filepath.Join(t.TempDir(), "weir.toml")
	}
	w.WriteConfig(config)
	if l.Program == "" {
		l.Program = Binary
	}
	args := []string{l.Program, "run", "-c", w.File}
	if l.DescriptorLimit > 0 {
		args = append([]string{"prlimit", fmt.Sprintf("--nofile=%d:%d", l.DescriptorLimit, l.DescriptorLimit)}, args...)
	}
	args = append(slices.Clone(l.Wrapper), args...)
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if l.PIDNamespace {
		attr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
		args = append([]string{"sh", "-c", `mount --make-rprivate / && mount -t proc proc /proc && exec "$@"`, "sh"}, args...)
	}
	w.Cmd = exec.Command(args[0], args[1:]...)
	// By default the race detector sleeps for a second before the exit.
	w.Cmd.Env = append(append(os.Environ(), "GOTRACEBACK=all"), l.Env...)
	w.Cmd.SysProcAttr = attr
	var stderr io.ReadCloser
	if l.Stderr != nil {
		w.Cmd.Stderr = l.Stderr
	} else {
		var err error
		stderr, err = w.Cmd.StderrPipe()
		require.NoError(t, err)
	}
	if l.Namespace != nil {
		var err error
		l.Namespace.Do(func() { err = w.Cmd.Start() })
		require.NoError(t, err)
	} else {
		require.NoError(t, w.Cmd.Start())
	}
	go func() {
		defer close(w.Done)
		if stderr != nil {
			w.readLog(stderr) // until the last process that has it ends
		}
		w.Cmd.Wait()
		for _, successor := range w.successors {
			w.exitCodes = append(w.exitCodes, nettest.Process(successor).Wait())
		}
	}()
	t.Cleanup(w.stopAndVerify)
	return w
}

func (w *Weir) readLog(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var rec Record
		err := json.Unmarshal(lines.Bytes(), &rec)
		w.mu.Lock()
		if err == nil {
			w.records = append(w.records, rec)
		} else {
			w.other = append(w.other, lines.Text())
		}
		w.mu.Unlock()
	}
}

// stopAndVerify ends every test.
func (w *Weir) stopAndVerify() {
	t := w.T
	if !w.HasExited() {
		if !t.Failed() && w.Baseline != nil {
			w.WaitDescriptors()
		}
		w.Signal(syscall.SIGTERM)
		begin := time.Now()
		for !w.HasExited() && nettest.Elapsed(begin) < patience {
			time.Sleep(2 * time.Millisecond)
		}
		if w.HasExited() {
			if code := w.exitCode(); code != 0 {
				t.Errorf("exit code %d instead of 0", code)
			}
		} else {
			t.Errorf("weir still runs %v after SIGTERM", patience)
			w.kill()
			select {
			case <-w.Done:
			case <-time.After(10 * time.Second):
				t.Errorf("weir still runs 10 s after SIGKILL")
			}
		}
	}
	if other := strings.Join(w.other, "\n"); strings.Contains(other, "DATA RACE") || strings.Contains(other, "panic:") {
		t.Error("race or panic in weir")
	}
	if t.Failed() {
		w.logTail()
	}
}

// kill ends every process that has served or is known to serve, whichever of them still runs.
func (w *Weir) kill() {
	pids := []int{w.Cmd.Process.Pid, int(w.Process())}
	for _, r := range w.Records(func(r Record) bool { return r.IsEvent("ready") }) {
		pids = append(pids, r.Int("pid"))
	}
	for _, pid := range pids { // another program may have the number of one that has ended
		if program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); strings.HasPrefix(filepath.Base(program), "weir") {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// logTail logs the last records of a failed test.
func (w *Weir) logTail() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.records[max(0, len(w.records)-25):] {
		line, _ := json.Marshal(r)
		w.T.Logf("log: %s", line)
	}
	for _, line := range w.other[:min(len(w.other), 120)] {
		w.T.Logf("log: %s", line)
	}
}

// Process returns the process that serves.
func (w *Weir) Process() nettest.Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.successors); n > 0 {
		return nettest.Process(w.successors[n-1])
	}
	return nettest.Process(w.Cmd.Process.Pid)
}

func (w *Weir) Signal(s syscall.Signal) { syscall.Kill(int(w.Process()), s) }

// exitCode returns the exit code of the last process.
func (w *Weir) exitCode() int {
	if n := len(w.exitCodes); n > 0 {
		return w.exitCodes[n-1]
	}
	return w.Cmd.ProcessState.ExitCode()
}

func (w *Weir) HasExited() bool {
	select {
	case <-w.Done:
		return true
	default:
		return false
	}
}

// WaitExit waits for the process to end by itself and returns its exit code.
func (w *Weir) WaitExit(within time.Duration) int {
	w.T.Helper()
	nettest.Wait(w.T, within, "weir to end", w.HasExited)
	return w.exitCode()
}

// Output returns everything on standard error so far.
func (w *Weir) Output() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, r := range w.records {
		line, _ := json.Marshal(r)
		b.Write(append(line, '\n'))
	}
	return b.String() + strings.Join(w.other, "\n")
}

// Kill kills weir with SIGKILL.
func (w *Weir) Kill() {
	w.Signal(syscall.SIGKILL)
	<-w.Done
}

// ServeUDP runs weir with a UDP listener until the test ends. Flows end after two idle seconds unless the configuration
// differs, so that none is left at the end of the test.
func ServeUDP(t *testing.T, l Config) (*Weir, string) {
	t.Helper()
	l = l.UDP(t)
	return Start(t, l.String()), l.Listen
}
