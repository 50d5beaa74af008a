package engine

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nettest"
	"weir/internal/status"
)

const historyConfig = `[[listener]]
name = "l"
address = "LISTEN"
cluster = "c"
[[listener]]
name = "own"
address = "OWN"
cluster = "c"
levels = ["backup"]
[cluster.c]
on_down = "close"
[[cluster.c.level]]
servers = ["ECHO name=a", "127.0.0.1:1 name=dead", "ECHO name=c"]
[[cluster.c.level]]
name = "backup"
servers = ["ECHO name=b"]
`

// A session is in the history of its server and of its cluster, also after a reload; a removed server has none.
func TestHistoryOfSession(t *testing.T) {
	host, listen := nettest.Start(t, nettest.Echo), nettest.Reserve(t)
	text := strings.NewReplacer("LISTEN", listen, "OWN", nettest.Reserve(t), "ECHO", host.Addr()).Replace(historyConfig)
	parse := func(text string) *conf.Config {
		cfg, err := conf.Parse("weir.toml", []byte(text))
		require.NoError(t, err)
		return cfg
	}
	e, err := Start(parse(text), Options{Log: slog.New(slog.DiscardHandler), Loops: 1})
	require.NoError(t, err)
	defer e.Stop(t.Context())
	nettest.Wait(t, 10*time.Second, "the first sample", func() bool { return e.history.Sampled("c", "a") })
	e.sampleHistory()
	first, err := e.History("", "", time.Time{})
	require.NoError(t, err)
	begun := first.Times[0]
	for range 3 {
		c := nettest.Dial(t, listen)
		defer c.Close()
		_, err := fmt.Fprint(c, "ping")
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
		_, err = c.Read(make([]byte, 4))
		require.NoError(t, err)
	}
	nettest.Wait(t, 10*time.Second, "the bytes to be counted", func() bool { return e.Metrics().Listeners[0].BytesUp == 12 })
	e.sampleHistory()
	e.sampleHistory()
	read := func(cluster, server string) status.History {
		h, err := e.History(cluster, server, time.Time{})
		require.NoError(t, err)
		require.False(t, h.Omitted)
		return h
	}
	total := func(rates []float64, h status.History) (sum float64) { // of the points, which are shorter than a step here
		before := begun
		for i, v := range rates[1:] {
			sum += v * h.Times[i+1].Sub(before).Seconds()
			before = h.Times[i+1]
		}
		return sum
	}
	for _, cluster := range []string{"", "c"} {
		h := read(cluster, "")
		require.EqualValues(t, 10, h.StepSeconds)
		require.GreaterOrEqual(t, len(h.Times), 2)
		require.WithinDuration(t, time.Now(), h.Times[len(h.Times)-1], time.Minute)
		require.EqualValues(t, 3, h.Sessions[len(h.Sessions)-1])
		require.InDelta(t, 3, total(h.NewSessions, h), 0.5)
		require.InDelta(t, 12, total(h.BytesUp, h), 2)
		require.InDelta(t, 12, total(h.BytesDown, h), 2)
		require.Positive(t, total(h.DialFailures, h), "the dead server was tried")
		dialled := slices.IndexFunc(h.DialP50, func(ms *float64) bool { return ms != nil })
		require.GreaterOrEqual(t, dialled, 0)
		require.LessOrEqual(t, *h.DialP50[dialled], *h.DialP99[dialled])
		late, err := e.History(cluster, "", h.Times[0])
		require.NoError(t, err)
		require.Equal(t, h.Times[1:], late.Times)
	}
	require.EqualValues(t, 20, read("c", "a").StepSeconds)
	doc := e.Status()
	require.Equal(t, "close", doc.Clusters[0].OnDown)
	require.Equal(t, []string{"", "backup"}, []string{doc.Listeners[0].Level, doc.Listeners[1].Level})

	points := len(read("c", "").Times)
	require.NoError(t, e.Reload(parse(strings.Replace(text, `, "`+host.Addr()+` name=c"`, "", 1)), nil))
	e.sampleHistory()
	require.Greater(t, len(read("c", "").Times), points, "a reload keeps the history")
	for _, wrong := range [][2]string{{"none", ""}, {"c", "none"}, {"", "a"}} {
		_, err := e.History(wrong[0], wrong[1], time.Time{})
		require.Error(t, err)
	}
}

func TestFourDigits(t *testing.T) {
	for in, want := range map[float64]float64{0: 0, 1: 1, 12.34567: 12.35, 0.0123456: 0.01235, 1234567: 1235000, 2047: 2047, 1e12 + 1: 1e12} {
		require.Equal(t, want, fourDigits(in))
	}
}

// BenchmarkSampleHistory measures a sample of 10,000 servers.
func BenchmarkSampleHistory(b *testing.B) {
	var servers strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&servers, "\"10.1.%d.%d:6379\",", i/250, i%250+1)
	}
	cfg, err := conf.Parse("weir.toml", []byte(fmt.Sprintf("[[listener]]\nname = \"l\"\naddress = %q\ncluster = \"c\"\n[[cluster.c.level]]\nservers = [%s]\n", nettest.Reserve(b), servers.String())))
	require.NoError(b, err)
	e, err := Start(cfg, Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	defer e.Stop(b.Context())
	for b.Loop() {
		e.sampleHistory()
	}
}
