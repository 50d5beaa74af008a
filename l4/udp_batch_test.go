package l4

import (
	"bytes"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"weir/internal/nettest"
)

// sentDatagrams returns the datagrams that the kernel makes of a send batch, by flow and in order.
func sentDatagrams(t require.TestingT, o *sendBatch, join int) map[*flow][][]byte {
	out := map[*flow][][]byte{}
	for i := range o.n {
		m := &o.messages[i]
		var all []byte
		for _, v := range o.iovs[m.first : m.first+m.pieces] {
			all = append(all, unsafe.Slice(v.Base, int(v.Len))...)
		}
		require.Equal(t, m.total, len(all))
		require.LessOrEqual(t, m.segments, maxSegments)
		if m.segments == 1 {
			out[m.flow] = append(out[m.flow], all)
			continue
		}
		require.LessOrEqual(t, m.size, join)
		require.LessOrEqual(t, m.total, maxPayload)
		n := 0
		for ; len(all) > 0; n++ {
			size := min(m.size, len(all))
			out[m.flow] = append(out[m.flow], all[:size])
			all = all[size:]
		}
		require.Equal(t, m.segments, n)
	}
	return out
}

// However datagrams are joined and split on the way, each flow's datagrams leave complete and in order.
func TestSendBatchKeepsBoundaries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := new(sendBatch)
		o.init(false)
		flows := []*flow{{sessionCore: sessionCore{id: 1}}, {sessionCore: sessionCore{id: 2}}}
		join := rapid.SampledFrom([]int{0, 100, 1200, anySegment}).Draw(t, "join")
		header := rapid.SampledFrom([][]byte{nil, bytes.Repeat([]byte{'h'}, 28)}).Draw(t, "header")
		sizes := rapid.SampledFrom([]int{0, 1, 64, 64, 64, 100, 1200, 1200, 1201, 30000, 65507})
		want := map[*flow][][]byte{}
		fill := byte(0)
		for range rapid.IntRange(1, 60).Draw(t, "runs") {
			f := rapid.SampledFrom(flows).Draw(t, "flow")
			size := sizes.Draw(t, "size")
			count := 1
			if size > 0 && size <= 1201 && rapid.Bool().Draw(t, "joined") {
				count = rapid.IntRange(2, 20).Draw(t, "count")
			}
			var p run
			for i := range count {
				n := size
				if i > 0 && i == count-1 {
					n = rapid.IntRange(1, size).Draw(t, "last")
				}
				fill++
				data := bytes.Repeat([]byte{fill}, n)
				p.data = append(p.data, data...)
				want[f] = append(want[f], append(bytes.Clone(header), data...))
			}
			if count > 1 {
				p.size = size
			}
			require.Equal(t, count, p.datagrams())
			require.True(t, bytes.Equal(want[f][len(want[f])-1][len(header):], p.last()))
			split := p.size > join || header != nil
			if !o.fits(&p, split) {
				check(t, want, sentDatagrams(t, o, join), f, count)
				return
			}
			o.add(f, &p, join, header, split)
		}
		check(t, want, sentDatagrams(t, o, join), nil, 0)
	})
}

// However datagrams are joined and sent, each one that the socket takes is counted, and no other.
func TestSendBatchCountsDatagrams(t *testing.T) {
	host := nettest.StartDatagrams(t, nettest.EchoDatagram)
	c := nettest.DialDatagrams(t, "", host.Addr())
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	f := &flow{sessionCore: sessionCore{id: 1}}
	joined, single := run{data: make([]byte, 450), size: 100}, run{data: make([]byte, 10)}
	large := run{data: make([]byte, maxPayload+100)} // no socket takes it
	for name, test := range map[string]struct {
		runs []run
		want int
		send func(o *sendBatch, fd int32) errno
	}{
		"one":            {[]run{single}, 1, func(o *sendBatch, fd int32) errno { return o.send(fd) }},
		"joined and one": {[]run{joined, {data: make([]byte, 200)}}, 6, func(o *sendBatch, fd int32) errno { return o.send(fd) }},
		"one by one":     {[]run{joined}, 5, func(o *sendBatch, fd int32) errno { _, _, e := o.sendSingly(fd); return e }},
		"before one too large": {[]run{joined, large, single}, 5, func(o *sendBatch, fd int32) errno {
			require.Equal(t, unix.EMSGSIZE, o.send(fd))
			return 0
		}},
	} {
		o := new(sendBatch)
		o.init(false)
		for i := range test.runs {
			o.add(f, &test.runs[i], anySegment, nil, false)
		}
		require.NoError(t, raw.Control(func(fd uintptr) { require.Zero(t, test.send(o, int32(fd)), name) }))
		counter := uint64(3)
		o.countTaken(&counter)
		o.countTaken(&counter)
		require.EqualValues(t, 3+test.want, counter, name)
	}
}

// check compares the datagrams that were added with those that leave. The last few of one flow were not added.
func check(t *rapid.T, want, got map[*flow][][]byte, of *flow, left int) {
	if of != nil {
		want[of] = want[of][:len(want[of])-left]
	}
	for f, list := range want {
		require.Equal(t, len(list), len(got[f]))
		for i := range list {
			require.True(t, bytes.Equal(list[i], got[f][i]), "datagram %d: %d bytes are %d", i, len(list[i]), len(got[f][i]))
		}
	}
}

func TestControlMessagesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c control
		ip := mapped([4]byte{127, 1, 2, byte(rapid.IntRange(0, 255).Draw(t, "ip"))})
		family := rapid.SampledFrom([]int{unix.AF_INET, unix.AF_INET6}).Draw(t, "family")
		size := uint16(rapid.IntRange(1, 65535).Draw(t, "size"))
		end := c.putSource(0, family, &ip, 0)
		a := parseControl(c[:end])
		require.Equal(t, ip, a.local)
		require.LessOrEqual(t, c.putSegment(end, size), controlSize)
		// The kernel says UDP_GRO with an int where it takes UDP_SEGMENT as 16 bits.
		data := c.putHeader(0, unix.SOL_UDP, unix.UDP_GRO, 4)
		copy(data, []byte{byte(size), byte(size >> 8), 0, 0})
		require.Equal(t, int(size), parseControl(c[:cmsgAlign(cmsgHeader+4)]).segment)
	})
}

// The parser reads no bytes beyond the end and returns no impossible sizes.
func FuzzParseControl(f *testing.F) {
	var c control
	ip := mapped([4]byte{127, 0, 0, 1})
	end := c.putSource(0, unix.AF_INET6, &ip, 2)
	f.Add(c[:end])
	f.Add(c[:c.putSegment(end, 1200)])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		a := parseControl(b)
		require.GreaterOrEqual(t, a.segment, 0)
		require.False(t, a.local[0] == 0xff, "a multicast address to answer from")
		p := run{data: make([]byte, 1000)}
		if a.segment > 0 && a.segment < len(p.data) {
			p.size = a.segment
		}
		require.LessOrEqual(t, len(p.last()), 1000)
		require.Positive(t, p.datagrams())
	})
}
