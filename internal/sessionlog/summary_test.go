package sessionlog

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/l4"
)

// lines writes entries, with the last flush, and returns the lines.
func lines(settings Settings, entries ...entry) (all []string) {
	w := &Writer{settings: func() Settings { return settings }, queue: slices.Clone(entries), out: func(text []byte) bool {
		all = append(all, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")...)
		return true
	}}
	w.flush(nil, true)
	return all
}

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// repeated returns n entries of one reason, a millisecond apart.
func repeated(n int, from time.Time, id uint64, listener string, reason l4.Reason) (all []entry) {
	for i := range n {
		all = append(all, entry{from.Add(time.Duration(i) * time.Millisecond), l4.Record{
			ID: id + uint64(i), Listener: listener, Termination: l4.Termination{Phase: l4.PhaseDial, Reason: reason}}})
	}
	return all
}

// Of the records of one reason, 100 a second are written; a line has the number, the first and the last of the others. Other
// reasons do not count, and neither do other seconds.
func TestRecordsOfOneReasonAreSummarised(t *testing.T) {
	t.Parallel()
	entries := repeated(60, noon, 1, "redis", l4.ReasonNoServer)
	entries = append(entries, repeated(90, noon, 1001, "redis", l4.ReasonQueueTimeout)...)
	entries = append(entries, repeated(50, noon.Add(100*time.Millisecond), 101, "db", l4.ReasonNoServer)...)
	entries = append(entries, repeated(5, noon.Add(200*time.Millisecond), 201, "redis", l4.ReasonNoServer)...)
	entries = append(entries, repeated(100, noon.Add(time.Second), 301, "redis", l4.ReasonNoServer)...)
	entries = append(entries, repeated(102, noon.Add(2*time.Second), 501, "redis", l4.ReasonNoServer)...)
	text := lines(Settings{}, entries...)
	require.Len(t, text, 100+90+1+100+100+1)
	require.Equal(t, `time=2026-01-31T12:00:00.204Z level=INFO msg="session records omitted" reason=no_server count=15 `+
		`first=2026-01-31T12:00:00.140Z last=2026-01-31T12:00:00.204Z first_id=141 last_id=205 listeners=db,redis`, text[190])
	require.Contains(t, text[189], " id=140 ")
	require.Contains(t, text[191], " id=301 ")
	require.Contains(t, text[len(text)-1], "count=2 ")

	var got map[string]any
	structured := lines(Settings{JSON: true}, entries...)
	require.NoError(t, json.Unmarshal([]byte(structured[190]), &got))
	require.Equal(t, map[string]any{"time": "2026-01-31T12:00:00.204000Z", "level": "INFO", "msg": "session records omitted", "reason": "no_server", "count": 15.,
		"first": "2026-01-31T12:00:00.140000Z", "last": "2026-01-31T12:00:00.204000Z", "first_id": 141., "last_id": 205., "listeners": []any{"db", "redis"}}, got)

	require.Len(t, lines(Settings{All: true}, entries...), len(entries))
}

// A clock that is set back does not make a second last longer, and a record that comes a little late does not begin a new one.
func TestSummariesFollowTheClock(t *testing.T) {
	t.Parallel()
	entries := repeated(100, noon.Add(time.Second), 1, "l", l4.ReasonNoServer)
	entries = append(entries, repeated(1, noon.Add(999*time.Millisecond), 101, "l", l4.ReasonNoServer)...)
	entries = append(entries, repeated(10, noon.Add(-time.Hour), 201, "l", l4.ReasonNoServer)...)
	text := lines(Settings{}, entries...)
	require.Len(t, text, 100+1+10)
	require.Contains(t, text[100], "count=1 ")
}

// The number of lines, and the size of a summary, are bounded however many sessions and listeners there are. The summary is
// written although no other record follows.
func TestOutageWritesFewLines(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	w := NewWriter(func(text []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")...)
		return true
	}, func() Settings { return Settings{} })
	defer w.Close()
	const sessions = 5000
	for i := range sessions {
		w.Write(l4.Record{ID: uint64(i), Listener: fmt.Sprint("listener-", i%50), Termination: l4.Termination{Phase: l4.PhaseDial, Reason: l4.ReasonNoServer}})
	}
	counted := func() (n, summaries int) {
		mu.Lock()
		defer mu.Unlock()
		for _, line := range got {
			var count int
			if _, after, ok := strings.Cut(line, " count="); ok {
				_, err := fmt.Sscan(after, &count)
				require.NoError(t, err)
				require.Less(t, len(line), 500)
				n, summaries = n+count, summaries+1
			} else {
				n++
			}
		}
		return n, summaries
	}
	require.Eventually(t, func() bool { n, _ := counted(); return n == sessions }, 30*time.Second, 5*time.Millisecond)
	_, seconds := counted()
	require.LessOrEqual(t, len(got), (seconds+1)*(maxPerSecond+1))
	require.Zero(t, w.Dropped())
}
