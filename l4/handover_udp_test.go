package l4

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func randomFlows(r *rand.Rand) *flowBatch {
	coin := func() bool { return r.IntN(2) == 0 }
	p := &flowBatch{bindings: []Binding{{Address: "0.0.0.0:53", Listener: "dns", Cluster: "c", Level: "dc1", Server: "a"}}}
	for range 1 + r.IntN(5) {
		t := flowState{
			socket: r.IntN(4), id: r.Uint64(), hasHeader: coin(), local: coin(), startedAt: time.Duration(r.Int64()), sentAt: -time.Duration(r.Int64()), moveDeadline: time.Duration(r.Int64()), balancedAt: time.Duration(r.Int64()), requests: r.Uint32(),
			connected: since(r.Uint32()), bytesUp: r.Uint64(), unanswered: r.Uint32(), attemptCount: uint16(r.Uint32()), maxSegmentUp: anySegment,
			inTable: coin(), stage: flowStage(r.IntN(3)), established: coin(), tlvs: []byte{}, kept: make([]byte, r.IntN(300)),
		}
		for i := range t.key {
			t.key[i] = byte(r.Uint32())
		}
		if t.hasHeader {
			t.client, t.tlvs = netip.MustParseAddrPort("[2001:db8::2]:9"), []byte{2, 0, 1, 'x'}
		}
		p.flows = append(p.flows, t)
	}
	return p
}

// A decoded batch equals the encoded one. A truncated batch, another format and a wrong number of descriptors are
// rejected.
func TestFlowBatchRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		p := randomFlows(r)
		text := p.encode()
		got, err := decodeFlows(text, len(p.flows))
		require.NoError(t, err)
		require.Equal(t, p, got)
		_, err = decodeFlows(text[:r.IntN(len(text))], len(p.flows))
		require.ErrorIs(t, err, errBatch)
		_, err = decodeFlows(text, len(p.flows)+1)
		require.ErrorIs(t, err, errBatch)
		text[0]++
		_, err = decodeFlows(text, len(p.flows))
		require.ErrorIs(t, err, errBatch)
	}
}

// The decoder never panics, and what it accepts it encodes to the same bytes.
func FuzzDecodeFlows(f *testing.F) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 8 {
		p := randomFlows(r)
		f.Add(p.encode(), len(p.flows))
	}
	f.Add([]byte{FlowFormat, 0, 0}, 0)
	f.Fuzz(func(t *testing.T, text []byte, descriptors int) {
		p, err := decodeFlows(text, descriptors)
		if err != nil {
			return
		}
		if len(p.flows) != descriptors {
			t.Fatalf("%d descriptors for %d flows", descriptors, len(p.flows))
		}
		once := p.encode()
		again, err := decodeFlows(once, descriptors)
		if err != nil || !bytes.Equal(once, again.encode()) {
			t.Fatalf("cannot encode what was decoded: %v", err)
		}
	})
}
