// A weir process under test: its configuration, its log, its signals and its end.

package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
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

// layout is the configuration most tests need: one listener "l" in front of one cluster "c".
type layout struct {
	listen   string     // the listener's address; "" = a reserved one
	runtime  string     // lines for the tables of these names
	listener string     //
	cluster  string     //
	level    string     // lines for every level
	levels   [][]string // the servers of each level, in the string form
	checks   string     // whole tables
	more     string     // further tables
}

// servers is one level of them.
func servers(s ...string) [][]string { return [][]string{s} }

func (l layout) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[runtime]\n%s\n[admin]\nlisten = \"\"\n[log]\nformat = \"json\"\nlevel = \"info\"\nsessions = \"all\"\n", l.runtime)
	fmt.Fprintf(&b, "[[listener]]\nname = \"l\"\naddress = %q\ncluster = \"c\"\n%s\n", l.listen, l.listener)
	fmt.Fprintf(&b, "[cluster.c]\n%s\n", l.cluster)
	for _, level := range l.levels {
		fmt.Fprintf(&b, "[[cluster.c.level]]\n%s\nservers = [", l.level)
		for _, server := range level {
			fmt.Fprintf(&b, "%q, ", server)
		}
		b.WriteString("]\n")
	}
	fmt.Fprintf(&b, "%s\n%s\n", l.checks, l.more)
	return b.String()
}

// launch says how a weir is to be started.
type launch struct {
	ns     *nettest.Namespace // nil = the test's own network
	nofile int                // the descriptor limit; 0 = the test's own
	under  []string           // a program that becomes weir: the command line follows its own arguments
	stderr *os.File           // instead of the log being read; such a weir is taken to be ready when it listens

	program string   // instead of the binary under test
	env     []string // added to the test's own
}

// weir is a running `weir run`.
type weir struct {
	t    *testing.T
	file string // its configuration
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	base map[string]int

	mu      sync.Mutex
	records []record
	other   []string // lines that are no JSON
	heirs   []int    // the processes that have taken over, in order
	codes   []int    // with which they ended; valid once done is closed
}

// record is one line of the log.
type record map[string]any

// end returns phase and reason of a session record, separated by a space; "" for any other record.
func (r record) end() string {
	if r.str("msg") != "session" {
		return ""
	}
	return r.str("phase") + " " + r.str("reason")
}

func (r record) str(key string) string { s, _ := r[key].(string); return s }
func (r record) num(key string) int    { n, _ := r[key].(float64); return int(n) }

// after tells whether the record was made after a moment; a port has had more than one session by the end of a long test.
func (r record) after(t time.Time) bool {
	at, err := time.Parse(time.RFC3339Nano, r.str("time"))
	return err == nil && at.After(t.Add(-time.Millisecond))
}

// is tells whether the record is an event of that name.
func (r record) is(event string) bool { return r.str("event") == event || r.str("msg") == event }

// serve runs weir with a layout until the test ends and returns the address to connect to.
func serve(t *testing.T, l layout) (*weir, string) {
	t.Helper()
	if l.listen == "" {
		l.listen = nettest.Reserve(t)
	}
	return start(t, l.String()), l.listen
}

// start runs weir with a configuration until the test ends. At the end, when the test has not stopped it itself, weir must
// be back at the descriptors it had when it was ready, exit with 0 on SIGTERM, and have reported no race and no panic.
func start(t *testing.T, config string) *weir {
	t.Helper()
	return launch{}.start(t, config)
}

func (l launch) start(t *testing.T, config string) *weir {
	t.Helper()
	w := l.launch(t, config)
	if l.stderr == nil {
		w.waitRecord(10*time.Second, "weir to be ready", func(r record) bool { return r.is("ready") })
		w.base = w.kinds()
		w.base["socket"] = w.proc().Listening() // whatever else is open already belongs to a check
	}
	return w
}

// launch starts the process and does not wait for anything.
func (l launch) launch(t *testing.T, config string) *weir {
	t.Helper()
	w := &weir{t: t, file: filepath.Join(t.TempDir(), "weir.toml"), done: make(chan struct{})}
	w.write(config)
	if l.program == "" {
		l.program = binary
	}
	args := []string{l.program, "run", "-c", w.file}
	if l.nofile > 0 {
		args = append([]string{"prlimit", fmt.Sprintf("--nofile=%d:%d", l.nofile, l.nofile)}, args...)
	}
	args = append(slices.Clone(l.under), args...)
	w.cmd = exec.Command(args[0], args[1:]...)
	// A second before the exit is what the race detector takes by itself, and no stop of weir.
	w.cmd.Env = append(append(os.Environ(), "GORACE=exitcode=66 atexit_sleep_ms=50", "GOTRACEBACK=all"), l.env...)
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr io.ReadCloser
	if l.stderr != nil {
		w.cmd.Stderr = l.stderr
	} else {
		var err error
		stderr, err = w.cmd.StderrPipe()
		require.NoError(t, err)
	}
	if l.ns != nil {
		var err error
		l.ns.Do(func() { err = w.cmd.Start() })
		require.NoError(t, err)
	} else {
		require.NoError(t, w.cmd.Start())
	}
	go func() {
		defer close(w.done)
		if stderr != nil {
			w.readLog(stderr) // until the last process that has it ends
		}
		w.cmd.Wait()
		for _, heir := range w.heirs {
			w.codes = append(w.codes, nettest.Process(heir).Wait())
		}
	}()
	t.Cleanup(w.finish)
	return w
}

func (w *weir) readLog(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var rec record
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

// finish is the end of every test.
func (w *weir) finish() {
	t := w.t
	if !w.ended() {
		if !t.Failed() && w.base != nil {
			w.rested()
		}
		w.signal(syscall.SIGTERM)
		begin := time.Now()
		for !w.ended() && nettest.Elapsed(begin) < 5*time.Second {
			time.Sleep(2 * time.Millisecond)
		}
		if w.ended() {
			if code := w.code(); code != 0 {
				t.Errorf("exit code %d instead of 0", code)
			}
		} else {
			t.Errorf("weir still runs 5 s after SIGTERM")
			for _, r := range w.all(func(r record) bool { return r.is("ready") }) { // whichever process it is
				syscall.Kill(r.num("pid"), syscall.SIGKILL)
			}
			<-w.done
		}
	}
	if other := strings.Join(w.other, "\n"); strings.Contains(other, "DATA RACE") || strings.Contains(other, "panic:") {
		t.Error("race or panic in weir")
	}
	if t.Failed() {
		w.dump()
	}
}

// dump shows the log's end with the failed test.
func (w *weir) dump() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.records[max(0, len(w.records)-25):] {
		line, _ := json.Marshal(r)
		w.t.Logf("log: %s", line)
	}
	for _, line := range w.other[:min(len(w.other), 120)] {
		w.t.Logf("log: %s", line)
	}
}

// proc is the process that serves.
func (w *weir) proc() nettest.Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.heirs); n > 0 {
		return nettest.Process(w.heirs[n-1])
	}
	return nettest.Process(w.cmd.Process.Pid)
}

func (w *weir) signal(s syscall.Signal) { syscall.Kill(int(w.proc()), s) }

// code is how the last process ended.
func (w *weir) code() int {
	if n := len(w.codes); n > 0 {
		return w.codes[n-1]
	}
	return w.cmd.ProcessState.ExitCode()
}

func (w *weir) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// exit waits for the process to end by itself and returns its exit code.
func (w *weir) exit(within time.Duration) int {
	w.t.Helper()
	nettest.Wait(w.t, within, "weir to end", w.ended)
	return w.code()
}

// output is everything on standard error so far.
func (w *weir) output() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, r := range w.records {
		line, _ := json.Marshal(r)
		b.Write(append(line, '\n'))
	}
	return b.String() + strings.Join(w.other, "\n")
}

// all returns the records so far that the predicate chooses.
func (w *weir) all(match func(record) bool) []record {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []record
	for _, r := range w.records {
		if match(r) {
			out = append(out, r)
		}
	}
	return out
}

// waitRecord waits for a record and returns the first that matches.
func (w *weir) waitRecord(within time.Duration, what string, match func(record) bool) record {
	w.t.Helper()
	var found []record
	nettest.Wait(w.t, within, what, func() bool {
		if found = w.all(match); len(found) == 0 && w.ended() {
			w.t.Fatalf("weir ended while waiting for %s", what)
		}
		return len(found) > 0
	})
	return found[0]
}

// session waits for the record of a client connection's session.
func (w *weir) session(c net.Conn) record {
	w.t.Helper()
	client := c.LocalAddr().String()
	return w.waitRecord(5*time.Second, "the session's record", func(r record) bool {
		return r.end() != "" && r.str("client") == client
	})
}

// loud returns the records at warn and above, but for those of events: servers may go down as they like.
func (w *weir) loud() []record {
	return w.all(func(r record) bool {
		return r.str("event") == "" && (r.str("level") == "WARN" || r.str("level") == "ERROR")
	})
}

// write replaces the configuration file at once, as an editor does.
func (w *weir) write(config string) {
	w.t.Helper()
	if !strings.Contains(config, "[admin]") { // the default socket is for one weir at a time
		config += "\n[admin]\nlisten = \"\"\n"
	}
	require.NoError(w.t, os.WriteFile(w.file+".new", []byte(config), 0o644))
	require.NoError(w.t, os.Rename(w.file+".new", w.file))
}

// reload replaces the configuration and waits until it is in force.
func (w *weir) reload(config string) {
	w.t.Helper()
	w.write(config)
	w.hup("reload")
}

// reloadFails replaces the configuration with one that must be refused, and returns the record that says so.
func (w *weir) reloadFails(config string) record {
	w.t.Helper()
	w.write(config)
	return w.hup("reload_failed")
}

// hup sends SIGHUP and waits for the outcome.
func (w *weir) hup(outcome string) record {
	w.t.Helper()
	over := func(r record) bool { return r.is("reload") || r.is("reload_failed") }
	before := len(w.all(over))
	w.signal(syscall.SIGHUP)
	var r record
	nettest.Wait(w.t, 10*time.Second, "the reload's outcome", func() bool {
		all := w.all(over)
		if len(all) > before {
			r = all[before]
		}
		return r != nil
	})
	require.True(w.t, r.is(outcome), "want %s, got %v", outcome, r)
	return r
}

// kinds counts the process's descriptors that depend on its work: the runtime's own poller, opened at first need, does not.
func (w *weir) kinds() map[string]int {
	kinds := w.proc().Descriptors().Kinds()
	delete(kinds, "eventpoll")
	delete(kinds, "eventfd")
	return kinds
}

// settled waits until the process has exactly the sockets it had when it was ready.
func (w *weir) settled(within time.Duration) {
	w.t.Helper()
	w.back(within, func(now map[string]int) bool { return now["socket"] == w.base["socket"] })
}

// rested waits until there are no more descriptors of any kind than at first, spare pipes included, which are kept for a while.
func (w *weir) rested() {
	w.t.Helper()
	w.back(5*time.Second, func(now map[string]int) bool {
		for kind, n := range now {
			if n > w.base[kind] { // fewer than then is no leak: a check may have been reading a file
				return false
			}
		}
		return now["socket"] == w.base["socket"]
	})
}

func (w *weir) back(within time.Duration, done func(now map[string]int) bool) {
	w.t.Helper()
	for begin := time.Now(); !done(w.kinds()); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > within && nettest.Elapsed(begin) > within {
			w.t.Errorf("weir's descriptors: want %v, got %v after %v\n%s", w.base, w.kinds(), within,
				strings.Join(w.proc().Descriptors().Since(nil), "\n"))
			return
		}
	}
}

// run runs a weir command to its end.
func run(t *testing.T, args ...string) (code int, output string) {
	t.Helper()
	out, err := exec.Command(binary, args...).CombinedOutput()
	if err != nil {
		exit, ok := err.(*exec.ExitError)
		require.True(t, ok, "%v", err)
		return exit.ExitCode(), string(out)
	}
	return 0, string(out)
}

// ask opens a session, reads what the server says until its end, and returns it with how it ended.
func ask(addr string) (string, nettest.StreamEnd) {
	c, err := nettest.TryDial(addr)
	if err != nil {
		return "", nettest.StreamEndOf(err)
	}
	defer c.Close()
	data, end := nettest.ReadToEnd(c, 10*time.Second)
	return string(data), end
}

// sequence opens n sessions one after the other and returns what they were told, joined. A session that was told nothing
// adds a dash.
func sequence(t *testing.T, addr string, n int) string {
	t.Helper()
	var b strings.Builder
	for range n {
		text, end := ask(addr)
		if text == "" {
			t.Logf("a session was told nothing: %s", end)
			text = "-"
		} else {
			require.Equal(t, nettest.EOF, end)
		}
		b.WriteString(text)
	}
	return b.String()
}

// pingpong writes a byte and reads it back.
func pingpong(c net.Conn) error {
	c.SetDeadline(time.Now().Add(5 * time.Second))
	defer c.SetDeadline(time.Time{})
	b := []byte{'x'}
	if _, err := c.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(c, b)
	return err
}

// knock opens a session and tells whether it is served: whether its first byte comes within the time. A refusal may be so
// quick that connecting fails already; c is nil then. Otherwise c stays open until the test ends.
func knock(t *testing.T, addr string, within time.Duration) (c *net.TCPConn, served bool) {
	t.Helper()
	c, err := nettest.TryDial(addr)
	if err != nil {
		require.Equal(t, nettest.Reset, nettest.StreamEndOf(err), "%v", err)
		return nil, false
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(within))
	defer c.SetReadDeadline(time.Time{})
	_, err = c.Read(make([]byte, 1))
	return c, err == nil
}

// between checks that a time that is just over is at least what was asked for and exceeds it by little more than a tenth,
// what the machine was late itself not counted: half a second is what a busy one is given, and more under the race detector.
func between(t *testing.T, want, got time.Duration) {
	t.Helper()
	slack := 500 * time.Millisecond
	if raceEnabled {
		slack = 1500 * time.Millisecond
	}
	require.GreaterOrEqual(t, got, want-5*time.Millisecond)
	require.Less(t, got-nettest.StalledSince(time.Now().Add(-got)), want+want/10+slack)
}

// median of durations, which it sorts.
func median(d []time.Duration) time.Duration { return percentile(d, 50) }

// percentile of durations, which it sorts.
func percentile(d []time.Duration, percent int) time.Duration {
	slices.Sort(d)
	return d[len(d)*percent/100]
}

// pair is a further cluster of one level with a listener of the same name in front of it, for a layout's more.
func pair(name, listen string, servers ...string) string {
	return fmt.Sprintf("[[listener]]\nname = %q\naddress = %q\ncluster = %[1]q\n"+
		"[cluster.%[1]s]\n[[cluster.%[1]s.level]]\nservers = [\"%[3]s\"]\n",
		name, listen, strings.Join(servers, `", "`))
}
