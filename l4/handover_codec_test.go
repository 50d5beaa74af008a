package l4

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// randomBatch returns a batch that freezeSessions could have made.
func randomBatch(r *rand.Rand) *sessionBatch {
	coin := func() bool { return r.IntN(2) == 0 }
	p := &sessionBatch{}
	for range 1 + r.IntN(3) {
		p.bindings = append(p.bindings, Binding{
			Address: "127.0.0.1:80", Listener: "l", Cluster: "c", Level: "1", Server: string(make([]byte, r.IntN(40))),
			clientIdle: time.Duration(r.Int64N(1e12)), halfClose: 30 * time.Second, maxRateUp: r.Int64N(1e12), maxRateDown: r.Int64N(2), records: Records(r.IntN(3)),
		})
	}
	for range 1 + r.IntN(8) {
		t := sessionState{
			binding: r.IntN(len(p.bindings)), id: r.Uint64(), serverName: []string{"", "db.example.com"}[r.IntN(2)], proxy: ProxyFacts{TLSVersion: []string{"", "TLSv1.3"}[r.IntN(2)]}, startedAt: time.Duration(r.Int64()), clientActiveAt: time.Duration(r.Int64()),
			connected: since(r.Uint32()), attemptCount: uint16(r.Uint32()), keepaliveSet: coin(), askedLast: coin(),
			client: socketState{fin: coin(), urgent: coin(), ackDelayed: coin(), headerSize: uint16(r.Uint32())}, server: socketState{hasSent: coin(), nodelay: coin()},
		}
		switch r.IntN(3) {
		case 0:
			t.clientAddr = netip.MustParseAddrPort("127.0.0.1:4711")
		case 1:
			t.clientAddr = netip.MustParseAddrPort("[2001:db8::1]:65535")
		}
		if coin() {
			t.halfClosedAt = time.Duration(r.Int64())
		}
		if r.IntN(4) == 0 {
			t.server, t.connected = socketState{}, 0
			t.wait = &waitHandover{since: time.Duration(r.Int64()), until: time.Duration(r.Int64()), held: coin(), startedAt: time.Duration(r.Int64()), queueUntil: time.Duration(r.Int64()), queueNumber: r.Uint64(), dest: netip.MustParseAddrPort("[2001:db8::2]:1"), proxyLocal: coin(), tlvs: make([]byte, r.IntN(100)), refusal: make([]byte, r.IntN(100)), hello: make([]byte, r.IntN(100))}
			p.sessions = append(p.sessions, t)
			continue
		}
		for _, s := range [...]*streamState{&t.up, &t.down} {
			s.bytes, s.fullReads, s.eof, s.bucketFull = r.Uint64(), uint8(r.IntN(spliceAfter+1)), coin(), time.Duration(r.Int64())
			switch r.IntN(3) {
			case 0:
				s.held = make([]byte, 1+r.IntN(scratchSize))
				s.held[len(s.held)-1], s.headerBytes = 7, uint16(r.IntN(len(s.held)))
			case 1:
				s.pipe, s.inPipe = true, r.IntN(pipeSize+1)
			default:
				s.held = []byte{}
				s.finSent = s.eof
			}
			if s.held == nil {
				s.held = []byte{}
			}
		}
		p.sessions = append(p.sessions, t)
	}
	return p
}

func (p *sessionBatch) descriptors() (n int) {
	for i := range p.sessions {
		n += p.sessions[i].descriptors()
	}
	return n
}

func TestSessionBatchRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		p := randomBatch(r)
		got, err := decodeSessions(p.encode(), p.descriptors())
		require.NoError(t, err)
		require.Equal(t, p, got)
	}
}

// A batch that is truncated, has trailing bytes, another format or the wrong number of descriptors is rejected as a
// whole.
func TestDecodeSessionsRejectsMalformedBatches(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	p := randomBatch(r)
	for i := range p.sessions {
		for _, s := range [...]*streamState{&p.sessions[i].up, &p.sessions[i].down} {
			s.held, s.headerBytes = s.held[:min(20, len(s.held))], 0
		}
	}
	text, n := p.encode(), p.descriptors()
	for i := range text {
		_, err := decodeSessions(text[:i], n)
		require.ErrorIs(t, err, errBatch, "%d of %d bytes", i, len(text))
	}
	for _, bad := range []struct {
		text []byte
		n    int
	}{{append(bytes.Clone(text), 0), n}, {text, n - 1}, {text, n + 1}, {append([]byte{SessionFormat + 1}, text[1:]...), n}, {nil, 0}} {
		_, err := decodeSessions(bad.text, bad.n)
		require.ErrorIs(t, err, errBatch)
	}
}

// The decoder never panics, accepts only what it would encode, and allocates in proportion to its input.
func FuzzDecodeSessions(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 8 {
		p := randomBatch(r)
		for i := range p.sessions {
			for _, s := range [...]*streamState{&p.sessions[i].up, &p.sessions[i].down} {
				s.held, s.headerBytes = s.held[:min(10, len(s.held))], 0
			}
		}
		f.Add(p.encode(), p.descriptors())
	}
	f.Add([]byte{}, 0)
	f.Add([]byte{SessionFormat, 0, 0}, 0)
	f.Add([]byte{SessionFormat, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 0)
	f.Fuzz(func(t *testing.T, text []byte, descriptors int) {
		p, err := decodeSessions(text, descriptors)
		if err != nil {
			if p != nil {
				t.Fatal("a batch and an error")
			}
			return
		}
		if n := p.descriptors(); n != descriptors {
			t.Fatalf("%d descriptors taken for %d", descriptors, n)
		}
		again, err := decodeSessions(p.encode(), descriptors)
		if err != nil || len(again.sessions) != len(p.sessions) || len(again.bindings) != len(p.bindings) {
			t.Fatalf("cannot encode what was decoded: %v", err)
		}
		for i := range p.sessions {
			s := &p.sessions[i]
			if s.binding >= len(p.bindings) || len(s.up.held) > scratchSize || s.down.inPipe > pipeSize {
				t.Fatalf("out of bounds: %+v", s)
			}
		}
	})
}
