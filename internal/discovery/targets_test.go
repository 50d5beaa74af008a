package discovery

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

func TestParseTargets(t *testing.T) {
	a, err := parseTargets([]byte(`[{"targets": ["a:1", "b:2"], "labels": {"weight": "5", "rack": "r", "max_sessions": 7}},
		{"targets": ["c:3"]}, {}, null, 7, {"targets": [null, {}]}, {"targets": ["d:4"], "labels": {"weight": [1]}}]`))
	require.NoError(t, err)
	want := []Entry{
		{conf.FoundServer{Address: "a:1", Options: map[string]string{"weight": "5", "max_sessions": "7"}}, map[string]string{"rack": "r"}},
		{conf.FoundServer{Address: "b:2", Options: map[string]string{"weight": "5", "max_sessions": "7"}}, map[string]string{"rack": "r"}},
		{conf.FoundServer{Address: "c:3"}, nil},
	}
	require.Equal(t, want, a.Entries)
	require.Equal(t, 5, a.BadN)
	require.Equal(t, BadEntry{"d:4", `label "weight": want a string`}, a.Bad[4])
	for _, text := range []string{"", " \n", "{}", "7", "null-", "[", `[{"targets": ["a:1"]}`, `[] []`, "<html>"} {
		_, err := parseTargets([]byte(text))
		require.ErrorContains(t, err, "want a JSON list", text)
	}
}

// An answer is bounded and printable, whatever a source sends.
func FuzzParseTargets(f *testing.F) {
	f.Add([]byte(`[{"targets": ["a:1"], "labels": {"weight": "5", "x": "y"}}]`))
	f.Add([]byte(`[{"targets": [7, null, "\u0000"], "labels": {"a": null}}, null, []]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := parseTargets(text)
		if err != nil {
			require.Less(t, len(err.Error()), 1000)
			return
		}
		require.LessOrEqual(t, len(a.Entries), MaxEntries)
		require.LessOrEqual(t, len(a.Bad), a.BadN)
		for _, b := range a.Bad {
			require.True(t, utf8.ValidString(b.Entry+b.Reason))
		}
		_, err = json.Marshal(a)
		require.NoError(t, err)
		var found []conf.FoundServer
		for _, e := range a.Entries {
			require.LessOrEqual(t, len(e.Labels), maxLabels)
			found = append(found, e.FoundServer)
		}
		servers, errs := (&conf.Discover{}).Servers(found)
		require.Len(t, servers, len(found))
		require.Len(t, errs, len(found))
	})
}

// Entries beyond the limit are counted, and so are bad ones.
func TestAnswerBounded(t *testing.T) {
	var a Answer
	for range MaxEntries + 3 {
		a.add("a:1", nil)
		a.Reject(strings.Repeat("x", 10_000), "bad")
	}
	require.Equal(t, []int{MaxEntries, 3, MaxEntries + 3, maxBad}, []int{len(a.Entries), a.Dropped, a.BadN, len(a.Bad)})
	require.Less(t, len(a.Bad[0].Entry), 200)
}

func TestPauseAfter(t *testing.T) {
	for _, x := range []struct {
		interval, ttl time.Duration
		failures      int
		random        float64
		want          time.Duration
	}{
		{10 * time.Second, 0, 0, 0.5, 10 * time.Second},
		{10 * time.Second, 0, 0, 0, 9 * time.Second},
		{10 * time.Second, 0, 0, 1, 11 * time.Second},
		{10 * time.Second, time.Minute, 0, 0, time.Minute}, // never before the ttl
		{10 * time.Second, time.Second, 0, 0.5, 10 * time.Second},
		{time.Millisecond, 0, 0, 0.5, minPause},
		{time.Minute, 0, 1, 0.5, time.Second},
		{time.Minute, 0, 3, 0.5, 4 * time.Second},
		{time.Minute, 0, 1000, 0.5, time.Minute},
		{500 * time.Millisecond, 0, 3, 0.5, 500 * time.Millisecond},
	} {
		require.Equal(t, x.want, pauseAfter(x.interval, x.ttl, x.failures, x.random), "%+v", x)
	}
}
