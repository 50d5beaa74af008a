// Scripts: a configuration, what happens, another configuration, what must follow.

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/engine"
	"weir/internal/nettest"
	"weir/internal/state"
)

// script is a running engine with its log and session records.
type script struct {
	t      *testing.T
	e      *engine.Engine
	listen string
	names  *testResolver

	mu      sync.Mutex
	lines   []line
	records []line // session records
	stopped bool
}

// line is one log record: attributes as text, and the message as "msg".
type line map[string]string

// end returns phase and reason of a session record.
func (l line) end() string { return l["phase"] + " " + l["reason"] }

// startScript starts an engine and stops it with the test. Further arguments are a host name and its addresses.
func startScript(t *testing.T, config string, name ...string) *script {
	t.Helper()
	return startWithState(t, config, nil, name...)
}

// startWithState is startScript with the saved state of an earlier engine.
func startWithState(t *testing.T, config string, earlier *state.Snapshot, name ...string) *script {
	t.Helper()
	s := &script{t: t, listen: nettest.Reserve(t), names: &testResolver{}}
	if len(name) > 0 {
		s.names.set(name[0], name[1:]...)
	}
	cfg, err := s.parse(config)
	require.NoError(t, err)
	s.e, err = engine.Start(cfg, engine.Options{
		Log: slog.New(&logSink{script: s, to: &s.lines}), Sessions: s.collectRecords, Lookup: s.names.lookup, SavedState: earlier,
	})
	require.NoError(t, err)
	t.Cleanup(s.stop)
	return s
}

// parse reads a configuration. LISTEN is replaced by the address of the script.
func (s *script) parse(config string) (*conf.Config, error) {
	return conf.Parse("weir.toml", []byte(strings.ReplaceAll(config, "LISTEN", s.listen)))
}

// reload requires a successful reload.
func (s *script) reload(config string) {
	s.t.Helper()
	require.NoError(s.t, s.tryReload(config))
}

// tryReload reloads and returns the error.
func (s *script) tryReload(config string) error {
	s.t.Helper()
	cfg, err := s.parse(config)
	require.NoError(s.t, err)
	return s.e.Reload(cfg, nil)
}

func (s *script) stop() {
	if s.stopped {
		return
	}
	s.stopped = true
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.e.Stop(ctx)
	if s.t.Failed() {
		for _, l := range s.logged(&s.lines, func(line) bool { return true }) {
			s.t.Log(l)
		}
	}
}

// collectRecords parses session records in text format.
func (s *script) collectRecords(lines []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text := range strings.Lines(string(lines)) {
		l := line{}
		for text = strings.TrimSpace(text); text != ""; text = strings.TrimPrefix(text, " ") {
			var key, value string
			key, text, _ = strings.Cut(text, "=")
			if quoted, err := strconv.QuotedPrefix(text); err == nil {
				value, _ = strconv.Unquote(quoted)
				text = text[len(quoted):]
			} else if end := strings.IndexByte(text, ' '); end >= 0 {
				value, text = text[:end], text[end:]
			} else {
				value, text = text, ""
			}
			l[key] = value
		}
		s.records = append(s.records, l)
	}
	return true
}

// logSink is a log handler that keeps its records.
type logSink struct {
	script *script
	to     *[]line
}

func (k *logSink) Enabled(context.Context, slog.Level) bool { return true }
func (k *logSink) WithAttrs([]slog.Attr) slog.Handler       { return k }
func (k *logSink) WithGroup(string) slog.Handler            { return k }

func (k *logSink) Handle(_ context.Context, r slog.Record) error {
	l := line{"msg": r.Message}
	r.Attrs(func(a slog.Attr) bool {
		l[a.Key] = a.Value.String()
		return true
	})
	if r.Message == "check" {
		return nil // many, and none of them an event
	}
	k.script.mu.Lock()
	defer k.script.mu.Unlock()
	*k.to = append(*k.to, l)
	return nil
}

func (s *script) logged(in *[]line, match func(line) bool) []line {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []line
	for _, l := range *in {
		if match(l) {
			out = append(out, l)
		}
	}
	return out
}

// events are those so far, as "event subject from→to", in order.
func (s *script) events() []string {
	var out []string
	for _, l := range s.logged(&s.lines, func(l line) bool { return l["event"] != "" }) {
		text := l["event"]
		if l["server"] != "" {
			text += " " + l["server"]
		}
		if l["from"] != "" {
			text += " " + l["from"] + "→" + l["to"]
		}
		out = append(out, text)
	}
	return out
}

// countEvents waits for an event, and returns how often it has been logged.
func (s *script) countEvents(event string) int {
	s.t.Helper()
	n := 0
	nettest.Wait(s.t, 5*time.Second, event, func() bool {
		n = 0
		for _, e := range s.events() {
			if e == event {
				n++
			}
		}
		return n > 0
	})
	return n
}

// request opens a session and returns what it receives, or "-".
func (s *script) request() string {
	c, err := nettest.TryDial(s.listen)
	if err != nil {
		return "-"
	}
	defer c.Close()
	data, _ := nettest.ReadToEnd(c, 5*time.Second)
	if len(data) == 0 {
		return "-"
	}
	return string(data)
}

// requests opens n sessions in sequence and returns the names of their servers.
func (s *script) requests(n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(s.request())
	}
	return b.String()
}

// cluster is a configuration of one listener and one cluster: its keys, then each level's servers.
func cluster(keys string, levels ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[runtime]\nloops = 2\n[[listener]]\nname = \"l\"\naddress = \"LISTEN\"\ncluster = \"c\"\n[cluster.c]\n%s\n", keys)
	for _, level := range levels {
		fmt.Fprintf(&b, "[[cluster.c.level]]\nservers = [")
		for server := range strings.SplitSeq(level, ", ") {
			fmt.Fprintf(&b, "%q, ", server)
		}
		b.WriteString("]\n")
	}
	return b.String()
}

// quick is a check whose verdicts come soon. Where this process does not run for its timeout, there is no verdict.
const quick = "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"300ms\"\ntimeout = \"300ms\"\nfast_interval = \"80ms\"\ndown_interval = \"80ms\"\nrise = 2\nfall = 2\n"

// startNamed starts a server that sends its name to every client, and returns it with its table in the configuration.
func startNamed(t *testing.T, name string) (*nettest.Host, string) {
	t.Helper()
	h := nettest.Start(t, nettest.SendText(name))
	return h, h.Addr() + " name=" + name
}

// testResolver is a resolver with settable addresses.
type testResolver struct {
	mu    sync.Mutex
	known map[string][]string
	mute  bool // no answer ever comes
	asked int
}

var errNoName = errors.New("no such host")

func (n *testResolver) set(name string, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known = map[string][]string{}
	}
	n.known[name] = addrs
}

func (n *testResolver) setSilent(mute bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mute = mute
}

// lookups returns the number of look-ups.
func (n *testResolver) lookups() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

func (n *testResolver) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	n.asked++
	mute, addrs := n.mute, n.known[host]
	n.mu.Unlock()
	if mute {
		<-ctx.Done()
		return nil, fmt.Errorf("lookup %s: %w", host, ctx.Err())
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("lookup %s: %w", host, errNoName)
	}
	var out []netip.Addr
	for _, a := range addrs {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

// read reads exactly n bytes.
func read(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	require.NoError(t, err)
	return string(b)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
