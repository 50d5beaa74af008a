package state

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func anyTime() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "ms")).UTC()
	})
}

func anySnapshot() *rapid.Generator[Snapshot] {
	count := rapid.Custom(func(t *rapid.T) *int {
		return rapid.Ptr(rapid.IntRange(0, 1<<30), true).Draw(t, "count")
	})
	server := rapid.Custom(func(t *rapid.T) Server {
		s := Server{Address: rapid.String().Draw(t, "address")}
		if rapid.Bool().Draw(t, "override") {
			s.Override = &Override{
				State:  rapid.SampledFrom([]string{"", "ready", "drain", "maint"}).Draw(t, "state"),
				Weight: count.Draw(t, "weight"), MaxSessions: count.Draw(t, "max_sessions"), Reason: rapid.String().Draw(t, "why"), At: anyTime().Draw(t, "at"),
			}
		}
		if rapid.Bool().Draw(t, "agent") {
			s.Agent = &Agent{Check: "agent", Reply: rapid.String().Draw(t, "says"), At: anyTime().Draw(t, "at")}
		}
		for _, id := range rapid.SliceOfNDistinct(rapid.StringMatching("[a-z]+"), 0, 3, rapid.ID[string]).Draw(t, "checks") {
			s.Checks = append(s.Checks, Check{ID: id, Down: rapid.Bool().Draw(t, "down"), Streak: rapid.IntRange(0, 9).Draw(t, "streak"), At: anyTime().Draw(t, "at")})
		}
		if rapid.Bool().Draw(t, "passive") {
			at := anyTime().Draw(t, "at")
			s.Passive = &Passive{State: rapid.SampledFrom([]string{"up", "failing", "probation"}).Draw(t, "state"),
				Failures: rapid.IntRange(0, 9).Draw(t, "failures"), First: &at, Until: &at, At: at}
		}
		return s
	})
	return rapid.Custom(func(t *rapid.T) Snapshot {
		m := Snapshot{SavedAt: anyTime().Draw(t, "saved"), Clusters: []Cluster{}}
		for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching("[a-z]+"), 0, 3, rapid.ID[string]).Draw(t, "clusters") {
			c := Cluster{Name: name, Level: rapid.String().Draw(t, "level"), Deleted: rapid.Bool().Draw(t, "deleted")}
			if rapid.Bool().Draw(t, "topology") {
				c.Topology = &Topology{Of: "sentinel m", Primary: rapid.String().Draw(t, "primary"), Epoch: rapid.Uint64().Draw(t, "epoch"), At: anyTime().Draw(t, "at"),
					Members: []Member{{Address: "10.0.0.1:6379", Role: rapid.SampledFrom([]string{"primary", "replica", "other", "unknown"}).Draw(t, "role")}}}
			}
			for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching("[a-z]+"), 0, 3, rapid.ID[string]).Draw(t, "servers") {
				s := server.Draw(t, name)
				s.Name = name
				c.Servers = append(c.Servers, s)
			}
			m.Clusters = append(m.Clusters, c)
		}
		return m
	})
}

func TestEncodeDecodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anySnapshot().Draw(t, "snapshot")
		text, err := Encode(m)
		require.NoError(t, err)
		again, err := Decode(text)
		require.NoError(t, err, "%s", text)
		require.Equal(t, m, again)
	})
}

func TestDecodeIgnoresUnknownKeys(t *testing.T) {
	m, err := Decode([]byte(`{"format": "weir state", "version": 2, "of_a_later_release": {}, "clusters": [{"name": "c", "new": 1}]}`))
	require.NoError(t, err)
	require.Equal(t, "c", m.Clusters[0].Name)
}

func TestDecodeVersion1(t *testing.T) {
	var snapshots []Snapshot
	for _, name := range []string{"version1", "everything"} {
		text, err := os.ReadFile("testdata/snapshot/" + name + ".json")
		require.NoError(t, err)
		s, err := Decode(text)
		require.NoError(t, err)
		snapshots = append(snapshots, s)
	}
	require.Equal(t, snapshots[1], snapshots[0])
	require.Equal(t, "a", snapshots[0].Clusters[0].ProtectedServer)
	require.Equal(t, "drain 50% maxconn:30 down #disk", snapshots[0].Clusters[0].Servers[0].Agent.Reply)
	require.NotEmpty(t, snapshots[0].Clusters[1].Replacement)
}

func TestDecodeErrors(t *testing.T) {
	whole := func(clusters string) string {
		return `{"format": "weir state", "version": 2, "clusters": [` + clusters + `]}`
	}
	server := func(s string) string { return whole(`{"name": "c", "servers": [{"name": "s", ` + s + `}]}`) }
	for text, want := range map[string]string{
		"":                                       "1:1: the text ends early",
		"{\n\"format\": ":                        "2:11: the text ends early",
		"{\n \"format\": x}":                     "2:12: invalid character 'x'",
		"{} {}":                                  "1:4: invalid character '{' after top-level value",
		"[]":                                     "want a value of type",
		"null":                                   "not a state file of weir",
		"{}":                                     "not a state file of weir",
		`{"format": "weir state"}`:               "version: want at most 2, got 0",
		`{"format": "weir state", "version": 3}`: "version: want at most 2, got 3",
		`{"format": "weir state", "version": 2, "clusters": {}}`: "want a value of type",
		whole(`{}`):                                                           "clusters[0].name: empty name",
		whole(`{"name": "c"}, {"name": "c"}`):                                 `clusters[1].name: duplicate name "c"`,
		whole(`{"name": "c", "created": true}`):                               "clusters[0].created: without replacement",
		whole(`{"name": "c", "added": [{"level": "1"}]}`):                     "clusters[0].added[0]: want a level and a server",
		whole(`{"name": "c", "removed": [""]}`):                               "clusters[0].removed[0]: empty name",
		server(`"name": ""`):                                                  "clusters[0].servers[0].name: empty name",
		server(`"override": {"state": "off"}`):                                `servers[0].override.state: want ready, drain or maint, got "off"`,
		server(`"override": {"weight": -1}`):                                  "servers[0].override.weight: -1 is out of range",
		server(`"override": {"weight": 1e400}`):                               "1:",
		server(`"override": {"max_sessions": 3000000000}`):                    "servers[0].override.max_sessions: 3000000000 is out of range",
		server(`"override": {"at": "yesterday"}`):                             "yesterday",
		server(`"agent": {"reply": "up"}`):                                    "servers[0].agent: want a check",
		server(`"checks": [{"id": "a", "streak": -1}]`):                       "servers[0].checks[0].streak: -1 is out of range",
		server(`"checks": [{"id": "a"}, {"id": "a"}]`):                        `servers[0].checks[1].id: duplicate name "a"`,
		server(`"passive": {"state": "odd"}`):                                 `servers[0].passive.state: want up, failing or probation, got "odd"`,
		server(`"passive": {"state": "failing"}`):                             "servers[0].passive.until: missing",
		server(`"passive": {"state": "up", "failures": 1}`):                   "servers[0].passive.first: missing",
		server(`"override": {"reason": "` + strings.Repeat("x", 5000) + `"}`): "servers[0].override.reason: too long",
	} {
		_, err := Decode([]byte(text))
		require.ErrorContains(t, err, want, "%.100s", text)
	}
}

// FuzzDecode decodes arbitrary text: the result is an error or a snapshot that does not change when it is encoded and
// decoded again.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/snapshot/*.json")
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, path := range files {
		text, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Decode(text)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		written, err := Encode(m)
		if err != nil {
			return // a year that JSON cannot express
		}
		again, err := Decode(written)
		require.NoError(t, err)
		rewritten, err := Encode(again)
		require.NoError(t, err)
		require.Equal(t, string(written), string(rewritten))
	})
}
