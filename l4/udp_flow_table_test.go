package l4

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The table behaves like a map and two lists: each client finds its own flow, and the oldest flow of each stage that may
// be evicted is known.
func TestFlowTableMatchesModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := newFlowTable(newFlowAges())
		type client struct {
			key   flowKey
			named netip.AddrPort
		}
		listed := map[client]*flow{}
		var stages [stageConfirmed + 1][]*flow
		var all []*flow
		now := time.Duration(0)
		drop := func(list []*flow, f *flow) []*flow {
			return slices.DeleteFunc(list, func(w *flow) bool { return w == f })
		}
		hashes := rapid.Uint32Range(0, 3) // many meet in a chain
		seen := map[client]uint32{}
		draw := rapid.Custom(func(t *rapid.T) client {
			var c client
			ip := [16]byte{15: rapid.Byte().Draw(t, "ip")}
			c.key = makeFlowKey(&ip, &[16]byte{}, uint16(rapid.IntRange(1, 20).Draw(t, "port")), 0)
			if rapid.IntRange(0, 3).Draw(t, "named") == 0 {
				c.named = netip.AddrPortFrom(netip.AddrFrom4([4]byte{1, 2, 3, 4}), uint16(rapid.IntRange(1, 3).Draw(t, "its port")))
			}
			return c
		})
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				c := draw.Draw(t, "client")
				if listed[c] != nil {
					t.Skip("has a flow")
				}
				if _, known := seen[c]; !known {
					seen[c] = hashes.Draw(t, "hash")
				}
				f := &flow{key: c.key, hash: seen[c]}
				if c.named.IsValid() {
					f.header = &headerInfo{client: c.named}
				}
				table.insert(f)
				table.setStage(f, stageUnanswered, now)
				listed[c] = f
				stages[stageUnanswered], all = append(stages[stageUnanswered], f), append(all, f)
			},
			"stage": func(t *rapid.T) {
				if len(all) == 0 {
					t.Skip("no flow")
				}
				f := rapid.SampledFrom(all).Draw(t, "flow")
				stages[f.stage] = drop(stages[f.stage], f)
				table.setStage(f, rapid.SampledFrom([]flowStage{stageUnanswered, stageUnconfirmed, stageConfirmed}).Draw(t, "stage"), now)
				stages[f.stage] = append(stages[f.stage], f)
			},
			"end": func(t *rapid.T) {
				if len(all) == 0 {
					t.Skip("no flow")
				}
				f := rapid.SampledFrom(all).Draw(t, "flow")
				table.remove(f)
				table.unlist(f)
				if c := (client{f.key, f.headerClient()}); listed[c] == f { // not one that came after it
					delete(listed, c)
				}
				stages[f.stage], all = drop(stages[f.stage], f), drop(all, f)
			},
			"": func(t *rapid.T) {
				now++
				for c, f := range listed {
					require.Same(t, f, table.find(&c.key, c.named, seen[c]))
				}
				c := draw.Draw(t, "client")
				require.Equal(t, listed[c], table.find(&c.key, c.named, seen[c]))
				require.Equal(t, len(listed), table.n)
				for stage := range stageConfirmed {
					var order []*flow
					for f := table.unproven[stage].oldest; f != nil; f = f.newer {
						order = append(order, f)
					}
					require.True(t, slices.Equal(stages[stage], order))
					since := int64(noFlow)
					if len(order) > 0 {
						since = int64(order[0].stagedAt)
					}
					require.Equal(t, since, table.ages.since[stage].Load())
					require.Equal(t, len(order), table.unproven[stage].n)
				}
				unanswered, unconfirmed := stages[stageUnanswered], stages[stageUnconfirmed]
				for _, flood := range []bool{false, true} {
					victims := unanswered
					if len(unanswered) == 0 || flood && len(unconfirmed) > len(unanswered) {
						victims = unconfirmed
					}
					if len(victims) == 0 {
						require.Nil(t, table.victim(flood))
					} else {
						require.Same(t, victims[0], table.victim(flood))
					}
				}
			},
		})
	})
}

func newFlowAges() *flowAges {
	a := &flowAges{}
	a.init()
	return a
}

// A flow fits the allocator's size class of 352 bytes. The next one, and each flow in it, takes 9 % more: before a field is
// added, another must go.
func TestFlowFitsSizeClass(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(flow{}), uintptr(352))
}

// The table grows and shrinks with its content and loses no flow.
func TestFlowTableGrowsAndShrinks(t *testing.T) {
	table := newFlowTable(newFlowAges())
	var flows []*flow
	for i := range 5000 {
		ip := [16]byte{12: 127, 14: byte(i >> 8), 15: byte(i)}
		f := &flow{key: makeFlowKey(&ip, &[16]byte{}, 1, 0)}
		f.hash = table.hash(&f.key, netip.AddrPort{})
		table.insert(f)
		flows = append(flows, f)
	}
	require.GreaterOrEqual(t, len(table.buckets), len(flows))
	longest := 0
	for _, f := range table.buckets {
		n := 0
		for ; f != nil; f = f.next {
			n++
		}
		longest = max(longest, n)
	}
	require.Less(t, longest, 16, "addresses that follow each other meet in one chain")
	for i, f := range flows {
		require.Same(t, f, table.find(&f.key, netip.AddrPort{}, f.hash))
		if i%10 > 0 {
			table.remove(f)
		}
	}
	require.Less(t, len(table.buckets), 8*len(flows)/10)
	for i, f := range flows {
		require.Equal(t, i%10 == 0, table.find(&f.key, netip.AddrPort{}, f.hash) == f)
		table.remove(f)
	}
	require.Len(t, table.buckets, minTableSize)
}

// The last unanswered datagram of each flow is kept, within bounds: the oldest are dropped first.
func TestKeptDatagramsAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var k keptDatagrams
		flows := make([]*flow, 200)
		for i := range flows {
			flows[i] = &flow{sessionCore: sessionCore{id: uint64(i + 1)}}
		}
		want := map[*flow][]byte{}
		t.Repeat(map[string]func(*rapid.T){
			"keep": func(t *rapid.T) {
				f := rapid.SampledFrom(flows).Draw(t, "flow")
				data := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.SampledFrom([]int{0, 1, 256, 257, 1400, 2048, 2049, 65507}).Draw(t, "size"))
				k.keep(f, data)
				want[f] = data
				require.NotNil(t, f.kept, "what is kept last is kept")
			},
			"drop": func(t *rapid.T) {
				f := rapid.SampledFrom(flows).Draw(t, "flow")
				k.drop(f)
				delete(want, f)
			},
			"": func(t *rapid.T) {
				held, n := 0, 0
				for d := k.oldest; d != nil; d = d.newer {
					require.Same(t, d, d.flow.kept)
					require.Equal(t, want[d.flow], d.data[:d.size])
					held += keptSizes[d.class]
					n++
				}
				require.Equal(t, k.held, held)
				require.LessOrEqual(t, held, maxKeptBytes)
				for _, f := range flows {
					if f.kept != nil {
						n--
					}
				}
				require.Zero(t, n)
			},
		})
	})
}
