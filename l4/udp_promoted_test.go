package l4

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"weir/internal/promotion"
)

// The list of promoted flows and the index agree, whatever is added and removed.
func TestPromotedFlows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := promotedFlows{of: map[*flow]*promotedFlow{}}
		var in []*flow
		t.Repeat(map[string]func(*rapid.T){
			"add": func(*rapid.T) {
				f := &flow{}
				m.add(&promotedFlow{flow: f})
				in = append(in, f)
			},
			"remove": func(t *rapid.T) {
				if len(in) == 0 {
					t.Skip("empty")
				}
				i := rapid.IntRange(0, len(in)-1).Draw(t, "which")
				m.remove(m.of[in[i]])
				in = append(in[:i], in[i+1:]...)
			},
			"": func(t *rapid.T) {
				require.Len(t, m.list, len(in))
				require.Len(t, m.of, len(in))
				for i, p := range m.list {
					require.Equal(t, i, p.index)
					require.Same(t, p, m.of[p.flow])
				}
				for _, f := range in {
					require.NotNil(t, m.of[f])
				}
			},
		})
	})
}

// The loop looks at each of up to 10,240 flows ten times a second, and at more of them less often.
func TestPromotedPause(t *testing.T) {
	for _, test := range []struct {
		flows int
		want  time.Duration
	}{{1, 100 * time.Millisecond}, {512, 100 * time.Millisecond}, {1024, 50 * time.Millisecond}, {1 << 20, 5 * time.Millisecond}} {
		m := promotedFlows{list: make([]*promotedFlow, test.flows)}
		require.Equal(t, test.want, m.pause())
	}
	require.False(t, (&promotedFlows{}).due(time.Hour))
}

// What the kernel has forwarded is counted once, however often it is read, and together with what weir has relayed.
func TestPromotedTraffic(t *testing.T) {
	plane, err := Open(Options{Loops: 1})
	require.NoError(t, err)
	defer plane.Close()
	rapid.Check(t, func(t *rapid.T) {
		l := &loop{plane: plane, promoted: promotedFlows{of: map[*flow]*promotedFlow{}}, now: time.Hour}
		f := &flow{socket: &udpSocket{counters: &Counters{}}, activeAt: time.Minute}
		f.bytesUp, f.bytesDown, f.requests = 100, 200, 3
		p := &promotedFlow{flow: f}
		var sum promotion.Traffic
		for range rapid.IntRange(1, 20).Draw(t, "reads") {
			up, down := uint64(rapid.IntRange(0, 5).Draw(t, "up")), uint64(rapid.IntRange(0, 5).Draw(t, "down"))
			sum.Up.Packets, sum.Down.Packets = sum.Up.Packets+up, sum.Down.Packets+down
			sum.Up.Bytes, sum.Down.Bytes = sum.Up.Bytes+up*64, sum.Down.Bytes+down*1200
			if up > 0 {
				sum.Up.Last += time.Duration(rapid.IntRange(1, 1e9).Draw(t, "later"))
			}
			if down > 0 {
				sum.Down.Last += time.Duration(rapid.IntRange(1, 1e9).Draw(t, "later"))
			}
			sum.State = promotion.State(rapid.IntRange(int(promotion.Watching), int(promotion.TooBig)).Draw(t, "state"))
			was := f.activeAt
			p.count(l, sum)
			require.GreaterOrEqual(t, f.activeAt, was)
			require.LessOrEqual(t, f.activeAt, l.now)
			require.EqualValues(t, 100+sum.Up.Bytes, f.bytesUp)
			require.EqualValues(t, 200+sum.Down.Bytes, f.bytesDown)
			require.EqualValues(t, 3+sum.Up.Packets, f.requests)
			require.Equal(t, sum.Up.Packets, f.socket.counters.DatagramsUp)
			require.Equal(t, sum.Down.Packets, f.socket.counters.DatagramsDown)
			if up+down > 0 {
				require.Equal(t, sum.Up.Last > sum.Down.Last, f.unanswered > 0)
				require.True(t, p.counts)
			}
		}
		begun := uint64(0)
		if p.counts {
			begun = 1
		}
		require.Equal(t, begun, l.promoted.counters.begun)
	})
}

// Every error of a Kernel has a reason, and every reason a text of its own.
func TestPromotionReasons(t *testing.T) {
	for _, err := range []error{promotion.ErrFull, promotion.ErrFamilies, promotion.ErrTaken, promotion.ErrNoRoute, promotion.ErrInterfaces} {
		require.NotEqual(t, UnpromotedFailed, whyUnpromoted(err))
	}
	require.Equal(t, UnpromotedFailed, whyUnpromoted(nil))
	seen := map[string]bool{}
	for _, why := range UnpromotedReasons() {
		seen[why.String()] = true
	}
	for _, why := range DemotedReasons() {
		seen[why.String()] = true
	}
	delete(seen, "")
	require.Len(t, seen, int(unpromotedCount)+int(demotedCount))
}
