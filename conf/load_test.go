package conf

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"weir/conf/internal/tree"
)

func TestDefaults(t *testing.T) {
	c := mustParse(t, "[[listener]]\nname = \"a\"\naddress = \":80\"\ncluster = \"web\"\n[[cluster.web.level]]\nservers = [\"10.0.0.1:80\"]\n[[cluster.web.check]]\ntype = \"tcp\"\n")
	defaults := Server{Weight: 1, MaxFails: 3, FailTimeout: 10 * time.Second, State: "ready"}
	server := defaults
	server.Name = "10.0.0.1:80"
	server.Address = Address{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Port: 80}
	require.Equal(t, &Config{
		File:    "weir.toml",
		Runtime: Runtime{DrainTimeout: 30 * time.Second},
		Log:     Log{Level: "info", Format: "text", Sessions: "errors"},
		Admin:   Admin{Listen: []Address{{Path: "/run/weir/admin.sock"}}},
		Listeners: []Listener{{
			Name: "a", Addresses: []Address{{Addr: netip.MustParseAddrPort("[::]:80"), Port: 80}}, Protocol: "tcp", Cluster: "web",
			ProxyTimeout: 5 * time.Second, PrereadTimeout: 5 * time.Second, HalfCloseTimeout: 30 * time.Second, TCPKeepalive: 60 * time.Second, Backlog: 4096, FlowTimeout: 30 * time.Second, Promote: "off", PromoteAfter: PromoteAfter{Requests: 32, Bytes: 4 << 20, Age: 100 * time.Millisecond}, SourcePrefixV6: 64, WhenFull: "reject", UnixMode: 0o666,
		}},
		Clusters: []Cluster{{
			Name: "web", Balance: "wrr", HashKey: "client_ip", ConnectTimeout: 2 * time.Second, Protected: true, OnDown: "keep",
			Failback: "auto", OnFailback: "keep", CloseDeadline: 30 * time.Second, MaxSessionAgeJitter: 10, Rebalance: "off", MaxHeld: 1000, ResolveInterval: 10 * time.Second, Defaults: defaults, Fleet: ClusterFleet{Verdict: "own"},
			Levels: []Level{{MinUp: 1, Servers: []Server{server}}},
			Checks: []Check{{
				Type: "tcp", ID: "tcp", Interval: 2 * time.Second, FastInterval: 2 * time.Second, DownInterval: 2 * time.Second,
				Timeout: time.Second, Rise: 2, Fall: 3, Initial: "up", Servers: "all",
			}},
		}},
		Notes: []Diagnostic{{
			File: "weir.toml", Line: 3, Col: 11, Path: "listener[0].address",
			Msg: "listener a is reachable from other networks and has no idle timeout (client_idle_timeout) and no limit per client (max_sessions_per_source)",
		}},
		positions: map[keyID]Diagnostic{
			{name: "listener a", key: "address"}: {File: "weir.toml", Line: 3, Col: 11, Path: "listener[0].address"},
		},
	}, c)
}

func TestServerNotations(t *testing.T) {
	words := mustParse(t, smallConfig+"servers = [\"h:80 name=x weight=5 max_fails=2 fail_timeout=5s state=maint max_sessions=9 source=10.0.0.1\", \"unix:/a=b weight=0\"]\n")
	table := mustParse(t, smallConfig+"servers = [{ address = \"h:80\", name = \"x\", weight = 5, max_fails = 2, fail_timeout = \"5s\", state = \"maint\", max_sessions = 9, source = \"10.0.0.1\" }, \"weight=0 address=unix:/a=b\"]\n")
	require.Equal(t, words.Clusters[0].Levels[0].Servers[0], table.Clusters[0].Levels[0].Servers[0])
	require.Equal(t, "/a=b", words.Clusters[0].Levels[0].Servers[1].Address.Path)
}

func TestNotationsGiveSameConfig(t *testing.T) {
	load := func(name string) *Config {
		c, err := Load("testdata/good/" + name + ".toml")
		require.NoError(t, err)
		c.File = ""
		return c
	}
	require.Equal(t, load("smallest").Clusters[0].Levels, mustParse(t, strings.ReplaceAll("cluster.redis.level = [{ servers = ['10.0.0.1:6379'] }]\n[[listener]]\nname = 'redis'\naddress = ':6379'\ncluster = 'redis'\n", "'", "\"")).Clusters[0].Levels)
	unix, dos := load("inline_tables"), load("windows_line_ends")
	require.Equal(t, unix.Listeners, dos.Listeners)
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1s": time.Second, "1m30s": 90 * time.Second, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond, "7d": 168 * time.Hour,
		"0s": 0, "-0s": 0, "1e3ms": time.Second, "3us": 3 * time.Microsecond, "3µs": 3 * time.Microsecond, ".5s": time.Second / 2,
	} {
		got, err := parseDuration(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "-", "5", "s", "5 s", "5sec", "1s5", "1..5s", "+5s", "1e", "1es", "NaNs", "5S", "١s", "."} {
		_, err := parseDuration(text)
		require.ErrorIs(t, err, errNotDuration, text)
	}
	for _, text := range []string{"1e9h", "9223372037s", "1e999s", strings.Repeat("9", 500) + "h"} {
		_, err := parseDuration(text)
		require.ErrorIs(t, err, errOverflow, text)
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(maxDuration)).Draw(t, "d")).Round(time.Millisecond)
		got, err := parseDuration(showDuration(d))
		require.NoError(t, err)
		require.Equal(t, d, got)
	})
}

// An address that is formatted and parsed again is the same address.
func TestAddressStringParsesToSameAddress(t *testing.T) {
	for _, text := range []string{"10.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80", "a.example:1", "A-b_c:65535", "unix:/a/b c"} {
		p, err := parseAddress(text)
		require.NoError(t, err, text)
		require.Equal(t, text, p.String())
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`(\[[0-9a-f:.%]{0,9}\]|[a-zA-Z0-9._-]{0,9}|unix:[/a.]{0,5}):[0-9+-]{0,6}`).Draw(t, "text")
		if p, err := parseAddress(text); err == nil && p.last == p.Port && !(p.Host == "" && p.Path == "" && !p.Addr.IsValid()) {
			again, err := parseAddress(p.String())
			require.NoError(t, err)
			require.Equal(t, p, again)
		}
	})
}

func TestNearestWord(t *testing.T) {
	legal := []string{"name", "address", "protocol", "max_sessions", "level", "rr", "wrr"}
	for word, want := range map[string]string{
		"adress": "address", "Name": "name", "nmae": "name", "maxsessions": "max_sessions", "MAX-SESSIONS": "max_sessions", "levels": "level",
		"proto": "protocol", "x": "", "": "", "xyzzy": "", "namenamename": "name", "rrr": "wrr", "wr": "wrr", strings.Repeat("a", 1000): "",
	} {
		got := nearest(word, legal, nil)
		if want == "wrr" && got == "rr" {
			continue // equally near
		}
		require.Equal(t, want, got, word)
	}
}

// A broken line anywhere in a good file is the only error that is reported.
func TestSyntaxErrorDoesNotHideOtherErrors(t *testing.T) {
	text, err := os.ReadFile("testdata/good/everything.toml")
	require.NoError(t, err)
	lines := strings.SplitAfter(string(text), "\n")
	open := 0 // open brackets: a new line inside a list would break the list
	for i, l := range lines {
		if open == 0 {
			for _, broken := range []string{"backlog = = 1\n", "x = \"abc\n", "x y\n", "x = 5m\n", "x = [1 2]\n"} {
				bad := strings.Join(lines[:i], "") + broken + strings.Join(lines[i:], "")
				_, err := Parse("weir.toml", []byte(bad))
				require.Error(t, err)
				ms := err.(Errors)
				require.Len(t, ms, 1, "%s before line %d: %s", broken, i+1, err)
				require.Equal(t, i+1, ms[0].Line)
			}
		}
		open += strings.Count(l, "[") + strings.Count(l, "{") - strings.Count(l, "]") - strings.Count(l, "}")
	}
}

// A good file without any one of its lines or bytes never panics, and every error has a position.
func TestEveryMissingLineHasPositions(t *testing.T) {
	text, err := os.ReadFile("testdata/good/everything.toml")
	require.NoError(t, err)
	lines := strings.SplitAfter(string(text), "\n")
	for i := range lines {
		checkParse(t, []byte(strings.Join(lines[:i], "")+strings.Join(lines[i+1:], "")))
		checkParse(t, []byte(strings.Join(lines[:i], "")))
	}
	for i := range text {
		checkParse(t, append(append([]byte{}, text[:i]...), text[i+1:]...))
	}
}

// Every file is parsed in bounded time.
func TestHostileFilesParseInBoundedTime(t *testing.T) {
	head := "[[listener]]\nname = \"a\"\naddress = \":80\"\ncluster = \"x\"\n[[cluster.x.level]]\nservers = ["
	for name, text := range map[string]string{
		"brackets":        "a = " + strings.Repeat("[", 1<<20),
		"braces":          "a = " + strings.Repeat("{a=", 1<<18),
		"header brackets": strings.Repeat("[", 1<<20),
		"dots":            strings.Repeat("a.", 1<<19) + "a = 1",
		"quotes":          strings.Repeat("\"", 1<<20),
		"lists":           strings.Repeat("a = [\n", 1<<17),
		"same key":        strings.Repeat("a = 1\n", 1<<16),
		"same key inline": "a = {" + strings.Repeat("a = 1,", 1<<16) + "}",
		"same table":      strings.Repeat("[a]\n", 1<<16),
		"broken lines":    strings.Repeat("a b\n", 1<<17),
		"one long line":   head + strings.Repeat("\"é\",", 1<<17) + "]",
		"unknown keys":    head + "]\n" + manyKeys(1<<16),
		"too many values": head + strings.Repeat("1,", 1<<21) + "]",
		"words":           head + "\"" + strings.Repeat("a=1 ", 1<<19) + "\"]",
		"escapes":         "a = \"" + strings.Repeat("\\n", 1<<20) + "\"",
		"regex":           head + "]\n[[cluster.x.check]]\ntype = \"tcp\"\nexpect_regex = \"" + strings.Repeat("a*", 1<<20) + "\"",
		"digits":          "a = " + strings.Repeat("9", 1<<20),
		"no references":   manyListeners(1 << 13),
	} {
		t.Run(name, func(t *testing.T) {
			start := cpuTime(t)
			_, err := Parse("weir.toml", []byte(text))
			require.Error(t, err)
			require.Less(t, cpuTime(t)-start, 20*time.Second) // a fraction of a second without the race detector
			require.Less(t, len(err.Error()), maxDiagnostics*(tree.MaxMessage+400))
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "bakclog%d = 1\n", i)
	}
	return b.String()
}

func manyListeners(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[[listener]]\nname = \"l%[1]d\"\naddress = \"127.0.0.1:%[2]d\"\ncluster = \"no%[1]d\"\n[[cluster.yes%[1]d.level]]\n", i, i+1)
	}
	return b.String()
}

// A file of another format does not fill the log.
func TestNumberOfErrorsIsLimited(t *testing.T) {
	for keys, last := range map[int]string{1000: "weir.toml:499:1: and 502 more errors", 3000: "weir.toml:500:1: and at least 1501 more errors"} {
		_, err := Parse("weir.toml", []byte(manyKeys(keys)))
		require.Len(t, err.(Errors), maxDiagnostics)
		require.Equal(t, last, err.(Errors)[maxDiagnostics-1].String())
	}
}

// A value of a secret type does not appear in messages.
func TestSecretValueIsNotInMessage(t *testing.T) {
	secret := textType("password", func(string) error { return fmt.Errorf("hunter2 is too short") })
	secret.secret = true
	d := newDecoder()
	n := &tree.Node{File: &tree.File{Name: "weir.toml", Text: []byte("x")}, Value: "hunter2", Name: "password", Parent: &tree.Node{Kind: tree.Table}}
	_, ok := read(d, n, secret)
	require.False(t, ok)
	require.Equal(t, "weir.toml:1:1: password: want a password", d.errs[0].String())
}

// All defaults are valid, and no key is listed twice in a table.
func TestSchemaHasNoDuplicateKeys(t *testing.T) {
	s := reflect.ValueOf(newSchema())
	for i := range s.NumField() {
		seen := map[string]bool{}
		for j := range s.Field(i).Len() {
			name := s.Field(i).Index(j).FieldByName("name").String()
			require.False(t, seen[name], "%s twice", name)
			seen[name] = true
		}
	}
}

// checkParse parses a text and checks the properties that hold for every text.
func checkParse(t testing.TB, text []byte) {
	nothing := func(*decoder, string, string, []*tree.Node) []string { return nil }
	c, err := parse("weir.toml", "weir.toml", text, nil, newReader(), nothing)
	if err != nil {
		require.Nil(t, c)
		ms, ok := err.(Errors)
		require.True(t, ok)
		require.NotEmpty(t, ms)
		lines := bytes.Count(text, []byte("\n")) + 1
		for i, m := range ms {
			require.Equal(t, "weir.toml", m.File)
			require.NotEmpty(t, m.Msg)
			require.NotContains(t, m.String(), "\n")
			if !bytes.Contains(text, []byte("%!")) {
				require.NotContains(t, m.String(), "%!")
			}
			if m.Msg != "no listener defined" {
				require.GreaterOrEqual(t, m.Line, 1)
				require.GreaterOrEqual(t, m.Col, 1)
			}
			require.LessOrEqual(t, m.Line, lines)
			if i > 0 {
				require.LessOrEqual(t, ms[i-1].Line, m.Line)
			}
		}
		return
	}
	again, err := parse("weir.toml", "weir.toml", text, nil, newReader(), nothing)
	require.NoError(t, err)
	require.Equal(t, c, again)
	require.True(t, Diff(c, again).Empty())
	require.True(t, len(c.Listeners) > 0 || c.SharesConfig())
	for _, k := range c.Clusters {
		require.NotEmpty(t, k.Levels)
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.toml", "testdata/bad/*.toml"} {
		files, err := filepath.Glob(pattern)
		require.NoError(f, err)
		for _, path := range files {
			text, err := os.ReadFile(path)
			require.NoError(f, err)
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) { checkParse(t, text) })
}
