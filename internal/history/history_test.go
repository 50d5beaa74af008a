package history

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testBounds() (bounds [Buckets - 1]time.Duration) {
	for i := range bounds {
		bounds[i] = time.Duration(i+1) * time.Millisecond
	}
	return bounds
}

// naive is the same history without a bound: each sample of each object.
type naive struct {
	at   []time.Duration
	seen []map[string]*Server // by cluster, cluster/server or ""; Counters have grown since the sample before
	last map[string]Counters  // by cluster/server
}

func (n *naive) sample(at time.Duration, clusters []Cluster) {
	seen, last := map[string]*Server{"": {}}, map[string]Counters{}
	for _, c := range clusters {
		sum := &Server{Sessions: c.Sessions}
		for _, s := range c.Servers {
			name := c.Name + "/" + s.Name
			one := &Server{Sessions: s.Sessions}
			if before, ok := n.last[name]; ok {
				one.Counters = s.Counters.since(&before)
			}
			sum.add(&one.Counters)
			seen[name], last[name] = one, s.Counters
		}
		seen[c.Name] = sum
		seen[""].Sessions += sum.Sessions
		seen[""].add(&sum.Counters)
	}
	n.at, n.seen, n.last = append(n.at, at), append(n.seen, seen), last
}

// points returns what Read must return. Objects exist in one run of samples at the end.
func (n *naive) points(name string, step int, after time.Duration) (p Points) {
	end := len(n.at) - (len(n.at)-1)%step // the samples after the first one fill whole steps
	for i := max(1, end-Span); i+step <= end; i += step {
		sum, begin := Server{}, -1
		for j := i; j < i+step; j++ {
			s := n.seen[j][name]
			switch {
			case s == nil:
				begin, sum = -1, Server{}
				continue
			case begin < 0 && n.seen[j-1][name] != nil:
				begin = j - 1
			case begin < 0:
				begin = j // its first sample
			}
			sum.add(&s.Counters)
			sum.Sessions = max(sum.Sessions, s.Sessions)
		}
		at := n.at[i+step-1]
		if begin < 0 || n.at[begin] == at || n.seen[i+step-1][name] == nil || at <= after {
			continue
		}
		seconds := (at - n.at[begin]).Seconds()
		bounds := testBounds()
		p.At = append(p.At, at)
		p.Sessions = append(p.Sessions, float64(sum.Sessions))
		p.NewSessions = append(p.NewSessions, float64(sum.Counters.Sessions)/seconds)
		p.BytesUp = append(p.BytesUp, float64(sum.BytesUp)/seconds)
		p.BytesDown = append(p.BytesDown, float64(sum.BytesDown)/seconds)
		p.DialFailures = append(p.DialFailures, float64(sum.DialFailures)/seconds)
		p.DialP50 = append(p.DialP50, quantile(0.5, &sum.Dials, &bounds))
		p.DialP99 = append(p.DialP99, quantile(0.99, &sum.Dials, &bounds))
	}
	return p
}

func requireClose(t *testing.T, want, got []float64, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i := range want {
		if math.IsNaN(want[i]) || math.IsNaN(got[i]) {
			require.True(t, math.IsNaN(want[i]) && math.IsNaN(got[i]), "%s, point %d: want %g, got %g", what, i, want[i], got[i])
			continue
		}
		require.InDelta(t, want[i], got[i], max(0x1p-10, want[i]/2000), "%s, point %d", what, i)
	}
}

// Random runs in which servers come, leave, return and begin to count again give the same points as a naive history.
func TestHistoryEqualsNaiveHistory(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		h, n := New(testBounds(), Budget), &naive{}
		clusters := []Cluster{}
		for at, i := time.Duration(0), 0; i < Span+200; i++ {
			at += Interval + time.Duration(r.Int64N(int64(time.Second)))
			change(r, &clusters)
			h.Sample(at, slices.Values(clusters))
			n.sample(at, clusters)
		}
		after := time.Duration(0)
		if seed%2 == 1 {
			after = n.at[len(n.at)-r.IntN(Span)-1]
		}
		for name := range n.seen[len(n.seen)-1] {
			cluster, server := name, ""
			step := 1
			if at := slices.Index([]byte(name), '/'); at >= 0 {
				cluster, server, step = name[:at], name[at+1:], serverStep
			}
			got := h.Read(cluster, server, after)
			require.True(t, got.Kept)
			require.Equal(t, time.Duration(step)*Interval, got.Step)
			// The naive history remembers an object across an absence. Compare what both have.
			want := n.points(name, step, max(after, n.absent(name)))
			what := fmt.Sprintf("seed %d, %q", seed, name)
			require.Equal(t, want.At, got.At, what)
			requireClose(t, want.Sessions, got.Sessions, what+": sessions")
			requireClose(t, want.NewSessions, got.NewSessions, what+": new sessions")
			requireClose(t, want.BytesUp, got.BytesUp, what+": bytes up")
			requireClose(t, want.BytesDown, got.BytesDown, what+": bytes down")
			requireClose(t, want.DialFailures, got.DialFailures, what+": dial failures")
			requireClose(t, want.DialP50, got.DialP50, what+": p50")
			requireClose(t, want.DialP99, got.DialP99, what+": p99")
		}
		require.Empty(t, h.Read("none", "", 0).At)
		require.Empty(t, h.Read("none", "none", 0).At)
	}
}

// absent returns the time of the last sample without an object.
func (n *naive) absent(name string) (at time.Duration) {
	for i := range n.at {
		if n.seen[i][name] == nil {
			at = n.at[i]
		}
	}
	return at
}

// change lets time pass for clusters.
func change(r *rand.Rand, clusters *[]Cluster) {
	if len(*clusters) == 0 || len(*clusters) < 4 && r.IntN(50) == 0 {
		*clusters = append(*clusters, Cluster{Name: fmt.Sprintf("c%d", r.IntN(1000))})
	}
	if r.IntN(300) == 0 {
		*clusters = slices.Delete(*clusters, 0, 1)
	}
	names := map[string]bool{}
	*clusters = slices.DeleteFunc(*clusters, func(c Cluster) bool { twice := names[c.Name]; names[c.Name] = true; return twice })
	for i := range *clusters {
		c := &(*clusters)[i]
		if len(c.Servers) < 5 && r.IntN(20) == 0 {
			name := fmt.Sprintf("s%d", r.IntN(6))
			if !slices.ContainsFunc(c.Servers, func(s Server) bool { return s.Name == name }) {
				c.Servers = append(c.Servers, Server{Name: name})
			}
		}
		if len(c.Servers) > 0 && r.IntN(150) == 0 {
			c.Servers = slices.Delete(c.Servers, 0, 1)
		}
		c.Sessions = 0
		for j := range c.Servers {
			s := &c.Servers[j]
			if r.IntN(200) == 0 {
				s.Counters = Counters{} // another server of the same name
			}
			s.Sessions = r.IntN(2000)
			s.Counters.Sessions += uint64(r.IntN(1000))
			s.BytesUp += uint64(r.IntN(1 << 30))
			s.BytesDown += uint64(r.IntN(1 << 30))
			s.DialFailures += uint64(r.IntN(2) * r.IntN(50))
			for range r.IntN(20) {
				s.Dials[r.IntN(Buckets)]++
			}
			c.Sessions += s.Sessions
		}
	}
}

func TestQuantile(t *testing.T) {
	bounds := testBounds()
	for _, test := range []struct {
		buckets  map[int]uint32
		q, least float64
		most     float64
	}{
		{nil, 0.5, math.NaN(), math.NaN()},
		{map[int]uint32{0: 1}, 0.5, 0.5, 1},
		{map[int]uint32{4: 100}, 0.5, 4, 5},
		{map[int]uint32{4: 100}, 0.99, 4.9, 5},
		{map[int]uint32{0: 98, 9: 2}, 0.5, 0.5, 1},
		{map[int]uint32{0: 98, 9: 2}, 0.99, 9, 10},
		{map[int]uint32{Buckets - 1: 1}, 0.5, 35, 35},
	} {
		var buckets [Buckets]uint32
		for i, n := range test.buckets {
			buckets[i] = n
		}
		v := quantile(test.q, &buckets, &bounds)
		if math.IsNaN(test.least) {
			require.True(t, math.IsNaN(v))
			continue
		}
		require.GreaterOrEqual(t, v, test.least, "%v", test.buckets)
		require.LessOrEqual(t, v, test.most, "%v", test.buckets)
	}
}

// Servers that do not fit have no points, count for their cluster, and get points when there is room.
func TestServersBeyondBudget(t *testing.T) {
	h := New(testBounds(), 2*seriesSize(1)+2*seriesSize(serverStep)) // the node, a cluster and two servers
	c := Cluster{Name: "c", Servers: []Server{{Name: "a"}, {Name: "b"}, {Name: "x"}}}
	at := time.Duration(0)
	step := func() {
		at += Interval
		for i := range c.Servers {
			c.Servers[i].Counters.Sessions += 10
		}
		h.Sample(at, slices.Values([]Cluster{c}))
	}
	for range 5 {
		step()
	}
	require.True(t, h.Read("c", "a", 0).Kept)
	require.False(t, h.Read("c", "x", 0).Kept)
	require.Equal(t, []float64{3, 3, 3, 3}, h.Read("c", "", 0).NewSessions)
	require.Equal(t, []float64{3, 3, 3, 3}, h.Read("", "", 0).NewSessions)
	c.Servers = c.Servers[1:]
	for range 4 {
		step()
	}
	x := h.Read("c", "x", 0)
	require.True(t, x.Kept)
	require.Equal(t, []float64{1, 1}, x.NewSessions)
	require.Greater(t, x.At[0], 5*Interval)
	require.Empty(t, h.Read("c", "a", 0).At)
	h.Sample(at+Interval, slices.Values([]Cluster{}))
	require.Equal(t, 0, h.used)
}
