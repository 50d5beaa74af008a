package conf

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func exampleCluster(t *testing.T) *Cluster {
	t.Helper()
	c, err := Parse("weir.toml", []byte(`
[[listener]]
name = "l"
address = "127.0.0.1:80"
cluster = "c"
[cluster.c]
balance = "rr"
max_fails = 7
[[cluster.c.level]]
name = "one"
servers = ["10.0.0.1:80 name=a max_fails=2", "10.0.0.2:80 name=b"]
[[cluster.c.level]]
servers = ["10.0.0.1:80 name=a max_fails=2 weight=3"]
[[cluster.c.check]]
type = "tcp"
servers = ["a"]
`))
	require.NoError(t, err)
	return &c.Clusters[0]
}

// errorsOf returns path and message of each error.
func errorsOf(t *testing.T, err error) [][2]string {
	t.Helper()
	var ms Errors
	require.True(t, errors.As(err, &ms), "%v", err)
	var out [][2]string
	for _, m := range ms {
		out = append(out, [2]string{m.Path, m.Msg})
	}
	return out
}

func TestParseServer(t *testing.T) {
	c := exampleCluster(t)
	for _, text := range []string{
		`{"address": "10.0.0.3:80", "name": "x", "weight": 5, "level": 2, "fail_timeout": "3s"}`,
		`{"address": "10.0.0.3:80", "name": "x", "weight": 5, "level": "2", "fail_timeout": "3s"}`,
		`"10.0.0.3:80 name=x weight=5 level=2 fail_timeout=3s"`,
	} {
		s, level, err := ParseServer([]byte(text), c)
		require.NoError(t, err, text)
		require.Equal(t, 1, level)
		require.Equal(t, "x", s.Name)
		require.Equal(t, 5, s.Weight)
		require.Equal(t, 7, s.MaxFails, "inherited")
		require.Equal(t, 3*time.Second, s.FailTimeout)
		require.Equal(t, "ready", s.State)
	}
	s, level, err := ParseServer([]byte(`{"address": "db.example:80", "level": "one"}`), c)
	require.NoError(t, err)
	require.Equal(t, 0, level)
	require.Equal(t, "db.example:80", s.Name)
}

func TestParseServerErrors(t *testing.T) {
	c := exampleCluster(t)
	for text, want := range map[string][2]string{
		``:                  {"", "want JSON: the JSON text ends early"},
		`{"address": `:      {"", "want JSON: the JSON text ends early"},
		`{} {}`:             {"", "want JSON: something follows the JSON value"},
		`7`:                 {"", `want a server such as "10.0.0.1:6379 weight=5" or {"address": "10.0.0.1:6379"}, got 7`},
		`{}`:                {"address", "missing key address"},
		`{"address": null}`: {"address", `want an address such as "10.0.0.1:6379", got null`},
		`{"address": "10.0.0.3:80", "weight": "five"}`: {"weight", `want an integer from 0 to 256, got "five"`},
		`{"address": "10.0.0.3:80", "weight": 1.5}`:    {"weight", `want an integer from 0 to 256, got 1.5`},
		`{"address": "10.0.0.3:80", "weight": 257}`:    {"weight", `want an integer from 0 to 256, got 257`},
		`{"address": "10.0.0.3:80", "wieght": 1}`:      {"wieght", "unknown key wieght, did you mean weight?"},
		`{"address": "10.0.0.3:80", "level": 3}`:       {"level", "cluster c has no level 3"},
		`{"address": "10.0.0.3:80", "level": "ome"}`:   {"level", `cluster c has no level "ome"; did you mean "one"?`},
		`{"address": "10.0.0.9:80", "name": "b", "level": 2}`: {"",
			`server "b" is also in level one, with address 10.0.0.2:80 instead of 10.0.0.9:80; only the weight may differ`},
		`{"address": "10.0.0.3:80", "address": "10.0.0.4:80"}`: {"", "want JSON: duplicate key address"},
	} {
		_, _, err := ParseServer([]byte(text), c)
		require.Error(t, err, text)
		require.Equal(t, want, errorsOf(t, err)[0], text)
	}
}

func TestParseCluster(t *testing.T) {
	old := exampleCluster(t)
	got, err := ParseCluster("c", []byte(`{"levels": [{"servers": ["10.0.0.5:80 name=a", {"address": "10.0.0.6:80"}]}]}`), old)
	require.NoError(t, err)
	require.Equal(t, "rr", got.Balance)
	require.Equal(t, old.Checks, got.Checks)
	require.Len(t, got.Levels, 1)
	require.Equal(t, 7, got.Levels[0].Servers[1].MaxFails)

	got, err = ParseCluster("new", []byte(`{"balance": "hash", "name": "new", "levels": [{"servers": []}], "checks": [{"type": "tcp"}]}`), nil)
	require.NoError(t, err)
	require.Equal(t, "new", got.Name)
	require.Equal(t, "hash", got.Balance)
	require.Equal(t, "tcp", got.Checks[0].ID)
	require.Equal(t, 3, got.Defaults.MaxFails)
}

func TestParseClusterErrors(t *testing.T) {
	old := exampleCluster(t)
	for text, want := range map[string][2]string{
		`[]`:              {"", "want a JSON object, got a list"},
		`{}`:              {"levels", "cluster c has no server: it has no level; want at least one [[cluster.c.level]]"},
		`{"levels": []}`:  {"levels", "cluster c has no server: it has no level; want at least one"},
		`{"level": [{}]}`: {"level", "unknown key level, did you mean levels?"},
		`{"levels": [{"servers": ["10.0.0.1:80 weight=x"]}], "checks": []}`: {"levels[0].servers[0].weight", `want an integer from 0 to 256, got "x"`},
		`{"levels": [{"servers": ["10.0.0.1:80"]}]}`:                        {"levels", `check tcp names server "a", which is in no level`},
		`{"levels": [{"servers": []}], "checks": [{"type": "tpc"}]}`:        {"checks[0].type", `want tcp, got "tpc"; did you mean "tcp"?`},
		`{"levels": [{"servers": []}], "checks": [], "name": "d"}`:          {"name", `want c, got "d"`},
		`{"levels": [{"servers": ["10.0.0.1:80", "10.0.0.1:80"]}], "checks": []}`: {"levels[0].servers[1]",
			`duplicate name "10.0.0.1:80" of a server in one level (lines 1 and 1)`},
	} {
		_, err := ParseCluster("c", []byte(text), old)
		require.Error(t, err, text)
		got := errorsOf(t, err)[0]
		require.Equal(t, want[0], got[0]+"", text)
		if want[0] != "checks[0].type" { // the list of types grows
			require.Equal(t, want[1], got[1], text)
		}
	}
}

func TestParseOverride(t *testing.T) {
	p, err := ParseOverride([]byte(`{"state": "drain", "weight": null, "reason": "kernel"}`))
	require.NoError(t, err)
	require.Equal(t, "drain", *p.State)
	require.Equal(t, -1, *p.Weight)
	require.Nil(t, p.MaxSessions)
	require.Equal(t, "kernel", p.Reason)
	for _, reason := range []string{`a\nb`, `\u001b[31m`, `\u202e`} {
		_, err = ParseOverride([]byte(`{"state": "drain", "reason": "` + reason + `"}`))
		require.ErrorContains(t, err, "a reason is one line of printable characters")
	}

	p, err = ParseOverride([]byte(`{"weight": 5.0, "max_sessions": 1e3}`)) // JSON does not distinguish 5.0 from 5
	require.NoError(t, err)
	require.Equal(t, 5, *p.Weight)
	require.Equal(t, 1000, *p.MaxSessions)
	_, err = ParseOverride([]byte(`{"weight": 5.5}`))
	require.ErrorContains(t, err, "want an integer from 0 to 256, got 5.5")
	_, err = ParseOverride([]byte(`{"weight": 1e19}`))
	require.ErrorContains(t, err, "want an integer from 0 to 256, got 1e19")
	p, err = ParseOverride([]byte(`{"state": null, "max_sessions": 0}`))
	require.NoError(t, err)
	require.Empty(t, *p.State)
	require.Equal(t, 0, *p.MaxSessions)

	p, err = ParseOverride([]byte(`{"state": "drain", "deadline": "5m"}`))
	require.NoError(t, err)
	require.Equal(t, 5*time.Minute, *p.Deadline)
	p, err = ParseOverride([]byte(`{"deadline": null}`))
	require.NoError(t, err)
	require.Zero(t, *p.Deadline)

	for text, want := range map[string][2]string{
		`{}`:                                   {"", "want at least one of state, weight and max_sessions"},
		`{"state": "maint", "deadline": "5m"}`: {"deadline", `only a drain has a deadline; want state = "drain"`},
		`{"state": null, "deadline": "5m"}`:    {"deadline", `only a drain has a deadline; want state = "drain"`},
		`{"state": "drain", "deadline": "0s"}`: {"deadline", `must be > 0, got "0s"`},
		`{"state": "drain", "deadline": 5}`:    {"deadline", `want a duration such as "5s", got 5`},
		`{"state": "down"}`:                    {"state", `want ready, drain or maint, got "down"; did you mean "maint"?`},
		`{"state": ""}`:                        {"state", `want ready, drain or maint, got ""`},
		`{"weight": -1}`:                       {"weight", "want an integer from 0 to 256, got -1"},
		`{"weight": 1e3}`:                      {"weight", "want an integer from 0 to 256, got 1000"},
		`{"max_sessions": "a"}`:                {"max_sessions", `want an integer ≥ 0, got "a"`},
		`{"wait": 1}`:                          {"wait", "unknown key wait"},
		`null`:                                 {"", "want a JSON object, got null"},
	} {
		_, err := ParseOverride([]byte(text))
		require.Error(t, err, text)
		require.Equal(t, want[0], errorsOf(t, err)[0][0], text)
		require.Contains(t, errorsOf(t, err)[0][1], want[1], text)
	}
}

func TestParseRebalance(t *testing.T) {
	for text, want := range map[string]bool{"": false, "{}": false, `{"dry_run": true}`: true, `{"dry_run": false}`: false} {
		dryRun, err := ParseRebalance([]byte(text))
		require.NoError(t, err, text)
		require.Equal(t, want, dryRun, text)
	}
	for _, text := range []string{"null", "x", `{"dry_run": 1}`, `{"dryrun": true}`} {
		_, err := ParseRebalance([]byte(text))
		require.Error(t, err, text)
	}
}

func TestParseFeedback(t *testing.T) {
	failed, err := ParseFeedback([]byte(`{"failed": true}`))
	require.NoError(t, err)
	require.True(t, failed)
	_, err = ParseFeedback([]byte(`{}`))
	require.Equal(t, [][2]string{{"failed", "missing key failed"}}, errorsOf(t, err))
	_, err = ParseFeedback([]byte(`{"failed": "yes"}`))
	require.Equal(t, [][2]string{{"failed", `want true or false, got "yes"`}}, errorsOf(t, err))
}

func TestValidateServers(t *testing.T) {
	c, err := Parse("weir.toml", []byte("[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:80\"\ncluster = \"c\"\n[[cluster.c.level]]\nservers = []\n"))
	require.NoError(t, err)
	require.NoError(t, c.ValidateServers())
	s, _, err := ParseServer([]byte(`"127.0.0.1:80"`), &c.Clusters[0])
	require.NoError(t, err)
	c.Clusters[0].Levels[0].Servers = append(c.Clusters[0].Levels[0].Servers, s)
	require.EqualError(t, c.ValidateServers(), "cluster c: server 127.0.0.1:80 points back to listener l")
	c.Listeners[0].Protocol = "udp"
	require.EqualError(t, c.ValidateServers(), "cluster c: server 127.0.0.1:80 points back to listener l")
	own := &c.Clusters[0].Levels[0].Servers[0]
	own.Address.Addr = netip.MustParseAddrPort("127.0.0.2:80")
	require.NoError(t, c.ValidateServers())
	own.SendProxy = "v1"
	require.EqualError(t, c.ValidateServers(), "server 127.0.0.1:80: PROXY v1 is TCP only; use v2: cluster c serves the udp listener l")
	own.SendProxy, own.Address = "", Address{Path: "/run/x"}
	require.EqualError(t, c.ValidateServers(), "cluster c: server 127.0.0.1:80 is a unix socket, which the udp listener l cannot reach")
}

// Any request is parsed or rejected with an error, and an accepted one is valid.
func FuzzRequests(f *testing.F) {
	for _, text := range []string{
		`{"address": "10.0.0.3:80", "name": "x", "weight": 5, "level": 2}`, `"10.0.0.3:80 weight=5 level=one"`, `{"state": "drain", "weight": null}`,
		`{"levels": [{"servers": ["10.0.0.1:80 name=a", {"address": "10.0.0.6:80"}]}]}`, `{"failed": true}`, `[[[[`, `{"a": 1e999}`, `null`,
		`{"balance": "hash", "levels": [{"min_up": 2, "servers": []}], "checks": [{"type": "tcp", "steps": [{"send": "0x00"}]}]}`,
	} {
		f.Add([]byte(text))
	}
	base, err := Parse("weir.toml", []byte("[[listener]]\nname = \"l\"\naddress = \":80\"\ncluster = \"c\"\n[[cluster.c.level]]\nname = \"one\"\nservers = []\n[[cluster.c.level]]\nservers = []\n"))
	if err != nil {
		f.Fatal(err)
	}
	c := &base.Clusters[0]
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, level, err := ParseServer(text, c); err == nil {
			require.NotEmpty(t, s.Name)
			require.False(t, s.Address.IsZero())
			require.Contains(t, []int{0, 1}, level)
			require.LessOrEqual(t, s.Weight, maxWeight)
		} else {
			require.NotEmpty(t, errorsOf(t, err))
		}
		if k, err := ParseCluster("c", text, c); err == nil {
			require.Equal(t, "c", k.Name)
			require.NotEmpty(t, k.Levels)
		} else {
			require.NotEmpty(t, errorsOf(t, err))
		}
		if p, err := ParseOverride(text); err == nil {
			require.True(t, p.State != nil || p.Weight != nil || p.MaxSessions != nil)
		}
		ParseFeedback(text)
		ParseStopRequest(text)
	})
}

// White space before an address does not hide that a request uses a unix socket of this host.
func TestUnixSocketBehindWhiteSpaceUsesHost(t *testing.T) {
	for _, space := range []string{"", " ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2003 "} {
		for _, text := range []string{
			`%q`, `{"address":%q}`, `["10.0.0.1:1", %q]`, `{"levels":[{"servers":[%q]}]}`, `{"levels":[{"servers":%q}]}`, `{"levels":[{"servers":[{"address":%q}]}]}`,
		} {
			address, err := json.Marshal(space + "unix:/run/x.sock weight=1")
			require.NoError(t, err)
			require.NotEmpty(t, UsesHost([]byte(strings.ReplaceAll(text, "%q", string(address)))), "%s with %q", text, space)
		}
	}
	require.Empty(t, UsesHost([]byte(`{"levels":[{"servers":["10.0.0.1:1 name=unix:x"]}]}`)))
}
