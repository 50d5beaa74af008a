package soak

// The weir under test: its process, log, metrics and API.

import (
	"bufio"
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
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// record is what weir's log says about one session.
type record struct {
	Msg      string    `json:"msg"`
	Time     time.Time `json:"time"`
	Client   string    `json:"client"`
	Listener string    `json:"listener"`
	Cluster  string    `json:"cluster"`
	Server   string    `json:"server"`
	Phase    string    `json:"phase"` // of a session
	Up       uint64    `json:"bytes_up"`
	Down     uint64    `json:"bytes_down"`
	Millis   float64   `json:"duration_ms"`
	Event    string    `json:"event"`
	Layer    string    `json:"layer"`
	Reason   string    `json:"reason"`
	Error    string    `json:"error"`
	Level    string    `json:"level"`
}

// end returns phase and reason of a session, separated by a space; "" for other records.
func (r *record) end() string {
	if r.Phase == "" {
		return ""
	}
	return r.Phase + " " + r.Reason
}

func (r *record) begun() time.Time {
	return r.Time.Add(-time.Duration(r.Millis * float64(time.Millisecond)))
}

// process is a running weir.
type process struct {
	file, socket string
	cmd          *exec.Cmd
	ended        chan struct{}
	http         *http.Client
	onRecord     func(record) // of a session, or of an event about a server; called by one goroutine

	ready chan struct{} // closed when it serves
	once  sync.Once

	calls sync.RWMutex // held for reading by requests, and for writing while a process hands over to the next

	mu     sync.Mutex
	pid    int      // of the process that serves
	heirs  int      // processes that have taken over
	over   []string // how processes said that they have stopped
	noise  []string // lines that are no JSON: races, panics
	errors []string // messages of level ERROR
}

// launch starts weir and waits until it serves.
func launch(binary, dir, config string, onRecord func(record)) (*process, error) {
	p := &process{
		file: filepath.Join(dir, "weir.toml"), socket: adminSocket(dir), ended: make(chan struct{}), ready: make(chan struct{}), onRecord: onRecord,
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
		p.follow(stderr)
		_ = p.cmd.Wait()
	}()
	select {
	case <-p.ready:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("weir did not start:\n%s", strings.Join(p.trouble(), "\n"))
	case <-time.After(20 * time.Second):
		p.kill()
		return nil, errors.New("weir is not ready after 20 s")
	}
}

func adminSocket(dir string) string { return filepath.Join(dir, "admin.sock") }

func (p *process) follow(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var rec record
		if err := json.Unmarshal(lines.Bytes(), &rec); err != nil {
			p.mu.Lock()
			p.noise = append(p.noise, lines.Text())
			p.mu.Unlock()
			continue
		}
		switch {
		case rec.Msg == "session" || strings.HasPrefix(rec.Event, "server_"):
			p.onRecord(rec)
		case rec.Msg == "ready":
			p.once.Do(func() { close(p.ready) })
		case rec.Msg == "stopped":
			p.mu.Lock()
			p.over = append(p.over, lines.Text())
			p.mu.Unlock()
		case rec.Level == "ERROR" && rec.Event != "reload_failed": // those are asked for
			p.mu.Lock()
			p.errors = append(p.errors, lines.Text())
			p.mu.Unlock()
		}
	}
}

// trouble is what the log has that should not be there.
func (p *process) trouble() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(append([]string(nil), p.noise...), p.errors...)
}

func (p *process) write(config string) error {
	if err := os.WriteFile(p.file+".new", []byte(config), 0o644); err != nil {
		return err
	}
	return os.Rename(p.file+".new", p.file)
}

// reload goes over to another configuration, by request and so with its outcome.
func (p *process) reload(config string) error {
	if err := p.write(config); err != nil {
		return err
	}
	_, err := p.ask(http.MethodPost, "/v1/reload", "")
	return err
}

// refuses has weir look at a file with a mistake for a moment, and says if it did not refuse it.
func (p *process) refuses(mistaken, good string) error {
	p.calls.RLock()
	defer p.calls.RUnlock()
	if err := p.write(mistaken); err != nil {
		return err
	}
	_, err := p.request(http.MethodPost, "/v1/reload", "")
	if werr := p.write(good); werr != nil {
		return werr
	}
	var no *refusal
	if errors.As(err, &no) && no.status == http.StatusUnprocessableEntity {
		return nil
	}
	return fmt.Errorf("a file with a mistake was not refused: %v", err)
}

// ask makes a request of the API. An error that is not a refusal is one of the transport.
func (p *process) ask(method, path, body string) ([]byte, error) {
	p.calls.RLock()
	defer p.calls.RUnlock()
	return p.request(method, path, body)
}

// upgrade has the process hand over to another one of the same program, and returns when the old one has ended.
func (p *process) upgrade() error {
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
		return errors.New("the old process still answers")
	}
	p.mu.Lock()
	p.pid = now.PID
	p.heirs++
	p.mu.Unlock()
	for end := time.Now().Add(20 * time.Second); running(old); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("process %d still runs 20 s after its upgrade", old)
		}
	}
	return nil
}

func (p *process) serving() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// running reports whether a process is there and not merely unburied.
func running(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	after := bytes.TrimSpace(text[bytes.LastIndexByte(text, ')')+1:])
	return len(after) > 0 && after[0] != 'Z' && after[0] != 'X'
}

func (p *process) request(method, path, body string) ([]byte, error) {
	req, err := http.NewRequest(method, "http://weir"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return text, &refusal{resp.StatusCode, strings.TrimSpace(string(text))}
	}
	return text, nil
}

// refusal is an answer that says no.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d: %s", r.status, r.text) }

// series is a metric's name with its labels in the order of their names. The values here hold no comma.
func series(key string) string {
	name, labels, found := strings.Cut(strings.TrimSuffix(key, "}"), "{")
	if !found {
		return key
	}
	all := strings.Split(labels, ",")
	slices.Sort(all)
	return name + "{" + strings.Join(all, ",") + "}"
}

// metrics are what /metrics says, by series.
func (p *process) metrics() (map[string]float64, error) {
	text, err := p.ask(http.MethodGet, "/metrics", "")
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			if v, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
				all[series(line[:i])] = v
			}
		}
	}
	return all, nil
}

// footprint is what the process has of what may leak.
type footprint struct {
	descriptors map[string]int // by kind
	goroutines  int
	threads     int
	rss         int64
}

func (p *process) footprint() (footprint, error) {
	f := footprint{descriptors: map[string]int{}}
	dir := fmt.Sprintf("/proc/%d", p.serving())
	entries, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return f, err
	}
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join(dir, "fd", e.Name()))
		if err != nil {
			continue
		}
		kind, _, found := strings.Cut(link, ":[")
		if !found {
			kind = "file"
		}
		if rest, anon := strings.CutPrefix(link, "anon_inode:"); anon {
			kind = strings.Trim(rest, "[]")
		}
		f.descriptors[kind]++
	}
	text, err := os.ReadFile(dir + "/status")
	if err != nil {
		return f, err
	}
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			f.rss = n << 10
		case "Threads:":
			f.threads = int(n)
		}
	}
	m, err := p.metrics()
	if err != nil {
		return f, err
	}
	f.goroutines = int(m["go_goroutines"])
	return f, nil
}

// stop drains weir, and says what was wrong with that.
func (p *process) stop() error {
	_ = syscall.Kill(p.serving(), syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(15 * time.Second):
		p.kill()
		return errors.New("weir still ran 15 s after SIGTERM")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if code := p.cmd.ProcessState.ExitCode(); code != 0 { // of the first process; the others are nobody's children
		return fmt.Errorf("weir ended with exit code %d", code)
	}
	if len(p.over) == 0 || !strings.Contains(p.over[len(p.over)-1], `"sessions_cut":0`) {
		return fmt.Errorf("weir did not stop as it should: %v", p.over)
	}
	return nil
}

// goroutines ends weir in the way that shows what each of them was doing.
func (p *process) goroutines() string {
	_ = syscall.Kill(p.serving(), syscall.SIGQUIT)
	<-p.ended
	p.mu.Lock()
	defer p.mu.Unlock()
	text := strings.Join(p.noise, "\n")
	p.noise = nil
	return text
}

// kill ends whatever still runs.
func (p *process) kill() {
	select {
	case <-p.ended: // the number may be somebody else's by now
	default:
		_ = syscall.Kill(p.serving(), syscall.SIGKILL)
		<-p.ended
	}
}
