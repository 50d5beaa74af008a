package sessionlog

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"weir/l4"
)

// Lines equal those of the slog handlers for the same values, except for the form of numbers.
func TestLinesMatchSlogHandlers(t *testing.T) {
	t.Parallel()
	var clock timeFormatter
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("ab19:/=\" \n\x00<&{}[]%,"))) // names contain no other characters
		span := rapid.Int64Range(-1, 1<<40)
		e := entry{rapid.Custom(func(t *rapid.T) time.Time {
			return time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999_999).Draw(t, "µs")*1000)
		}).Draw(t, "at"), l4.Record{
			ID: rapid.Uint64().Draw(t, "id"), Listener: text.Draw(t, "listener"), Cluster: text.Draw(t, "cluster"), Level: text.Draw(t, "level"),
			Server: text.Draw(t, "server"), Attempts: rapid.IntRange(0, 99).Draw(t, "attempts"), Connect: time.Duration(span.Draw(t, "connect")),
			FirstByte: time.Duration(span.Draw(t, "first")), Duration: time.Duration(span.Draw(t, "duration")),
			BytesUp: rapid.Uint64().Draw(t, "up"), BytesDown: rapid.Uint64().Draw(t, "down"), Termination: rapid.SampledFrom(l4.Terminations()).Draw(t, "end"),
		}}
		if rapid.Bool().Draw(t, "tcp") {
			e.Client = netip.MustParseAddrPort(rapid.SampledFrom([]string{"127.0.0.1:1", "[fe80::1%eth0]:65535", "[::]:80"}).Draw(t, "client"))
		}

		var plain, structured bytes.Buffer
		opts := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Value.Kind() == slog.KindFloat64 {
				a.Value = slog.AnyValue(json.Number(string(appendMS(nil, time.Duration(a.Value.Float64()*1e6+0.5)))))
			}
			return a
		}}
		for _, h := range []slog.Handler{slog.NewTextHandler(&plain, opts), slog.NewJSONHandler(&structured, opts)} {
			r := slog.NewRecord(e.at, slog.LevelInfo, "session", 0)
			client := "unix"
			if e.Client.IsValid() {
				client = e.Client.String()
			}
			r.AddAttrs(slog.Uint64("id", e.ID), slog.String("listener", e.Listener), slog.String("client", client), slog.String("cluster", e.Cluster),
				slog.String("cluster_level", e.Level), slog.String("server", e.Server),
				slog.String("phase", e.Phase.String()), slog.Int("attempts", e.Attempts))
			since := func(key string, d time.Duration) {
				if _, inJSON := h.(*slog.JSONHandler); d >= 0 {
					r.AddAttrs(slog.Float64(key, ms(d)))
				} else if inJSON {
					r.AddAttrs(slog.Any(key, nil))
				}
			}
			since("connect_ms", e.Connect)
			since("first_byte_ms", e.FirstByte)
			r.AddAttrs(slog.Float64("duration_ms", ms(e.Duration)), slog.Float64("age_seconds", ms(e.Duration.Round(time.Millisecond)/1000)), slog.Uint64("bytes_up", e.BytesUp), slog.Uint64("bytes_down", e.BytesDown),
				slog.String("reason", e.Reason.String()))
			require.NoError(t, h.Handle(t.Context(), r))
		}
		got := string(appendText(nil, &e, &clock))
		require.True(t, strings.HasSuffix(got, "\n") && strings.Count(got, "\n") == 1, "one line")
		require.Equal(t, plain.String(), got)
		var want, have map[string]any
		got = string(appendJSON(nil, &e, &clock))
		require.True(t, strings.HasSuffix(got, "\n") && strings.Count(got, "\n") == 1, "one line")
		require.NoError(t, json.Unmarshal(structured.Bytes(), &want))
		require.NoError(t, json.Unmarshal([]byte(got), &have), got)
		at, err := time.Parse(time.RFC3339Nano, have["time"].(string))
		require.NoError(t, err)
		require.True(t, at.Equal(e.at), "%v is not %v", at, e.at)
		want["time"] = have["time"] // ignore trailing zeros
		require.Equal(t, want, have)
	})
}

func TestAppendMS(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", time.Microsecond: "0.001", 1500 * time.Microsecond: "1.5", 2*time.Hour + 10*time.Microsecond: "7200000.01", 999: "0", -2 * time.Millisecond: "-2",
	} {
		require.Equal(t, want, string(appendMS(nil, d)))
	}
}

// Records arrive in order or are counted as dropped, whether the queue or the log has no room. Write does not block while
// the log does.
func TestWriterKeepsOrderAndCountsDroppedRecords(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	unblock, full := make(chan struct{}), false
	w := NewWriter(func(lines []byte) bool {
		<-unblock
		mu.Lock()
		defer mu.Unlock()
		if full {
			return false
		}
		got = append(got, strings.Split(strings.TrimSuffix(string(lines), "\n"), "\n")...)
		return true
	}, func() Settings { return Settings{All: true} })
	w.Write(l4.Record{ID: 1})
	require.Eventually(t, func() bool { // taken from the queue; the log blocks
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.queue) == 0
	}, 30*time.Second, time.Millisecond)
	const more = queueSize + 100
	for i := range uint64(more) {
		w.Write(l4.Record{ID: i + 2})
	}
	require.Equal(t, uint64(100), w.Dropped())
	close(unblock)
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == queueSize+1
	}, 30*time.Second, time.Millisecond)
	for i, line := range got {
		require.Contains(t, line, " id="+string(appendMS(nil, time.Duration(i+1)*time.Millisecond))+" ")
	}
	mu.Lock()
	full = true
	mu.Unlock()
	w.Write(l4.Record{})
	w.Write(l4.Record{})
	w.Close()
	require.Equal(t, uint64(102), w.Dropped())
	require.Len(t, got, queueSize+1)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func BenchmarkWrite(b *testing.B) {
	lines := 0
	w := NewWriter(func([]byte) bool { lines++; return true }, func() Settings { return Settings{JSON: true, All: true} })
	rec := l4.Record{
		ID: 12345, Listener: "redis", Client: netip.MustParseAddrPort("192.0.2.1:54321"), Cluster: "redis", Level: "1", Server: "10.0.0.1:6379",
		Attempts: 1, Connect: 123 * time.Microsecond, FirstByte: time.Millisecond, Duration: 12 * time.Second, BytesUp: 1234, BytesDown: 56789, Termination: l4.Termination{Phase: l4.PhaseRelay, Reason: l4.ReasonClientClosed},
	}
	b.ReportAllocs()
	for b.Loop() {
		w.Write(rec)
	}
	w.Close()
}

func BenchmarkAppendText(b *testing.B) {
	e := entry{time.Now(), l4.Record{
		ID: 12345, Listener: "redis", Client: netip.MustParseAddrPort("192.0.2.1:54321"), Cluster: "redis", Level: "1", Server: "10.0.0.1:6379",
		Attempts: 1, Connect: 123 * time.Microsecond, FirstByte: time.Millisecond, Duration: 12 * time.Second, BytesUp: 1234, BytesDown: 56789, Termination: l4.Termination{Phase: l4.PhaseRelay, Reason: l4.ReasonClientClosed},
	}}
	buf := make([]byte, 0, 1024)
	var clock timeFormatter
	b.ReportAllocs()
	for b.Loop() {
		buf = appendText(buf[:0], &e, &clock)
	}
}
