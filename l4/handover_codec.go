package l4

// The form in which sessions travel from one process to another: a parcel of some of them, with their descriptors beside
// it. Numbers are variable-length (encoding/binary), texts and bytes have their length before them.
//
//	parcel   format, places, sessions
//	place    listener's address and name, cluster, level, server; timeouts and records that its sessions have
//	session  place, id, client, times, what is known of both sockets, both streams with the bytes that wait in them
//
// Of each session the descriptors are, in order: the client's socket, the server's, then both ends of the pipe of each
// stream that has one. Times are on the plane's clock, which the other process shares.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// SessionFormat is the version of this form. It changes with any change to it.
const SessionFormat = 1

// errParcel is wrapped by whatever is wrong with a parcel.
var errParcel = errors.New("hand-over: malformed sessions")

const (
	parcelSessions = MaxDescriptors / 2 // the most in a parcel
	parcelText     = 4096               // the longest name
)

// Binding is what sessions of a parcel have in common, in names that both processes know.
type Binding struct {
	Address  string // of the listener
	Listener string // its name
	Cluster  string
	Level    string // its name or number
	Server   string

	clientIdle, serverIdle, halfClose, keepalive, userTimeout time.Duration
	records                                                   Records
}

// parcel is what a message of sessions says.
type parcel struct {
	places   []Binding
	sessions []travelling
}

// travelling is a session without its descriptors.
type travelling struct {
	place int
	id    uint64
	from  netip.AddrPort

	begun, clientAt, serverAt, halfAt time.Duration
	connected, firstByte              since

	attempts       uint16
	settled        bool
	client, server travellingSocket
	up, down       travellingStream
}

// travellingSocket is what no event will tell of a socket again.
type travellingSocket struct {
	fin, local, urgent, primed, nodelay, quiet bool
	preface                                    uint16
}

// travellingStream is a direction. Bytes in a pipe travel with it.
type travellingStream struct {
	bytes     uint64
	full      uint8
	eof, shut bool
	held      []byte // that the target refused; at most a buffer full
	lead      uint16 // of those, what was never the source's
	pipe      bool
	inPipe    int // bytes in the pipe
}

func (t *travelling) descriptors() int {
	n := 2
	if t.up.pipe {
		n += 2
	}
	if t.down.pipe {
		n += 2
	}
	return n
}

func flags(list ...bool) (set uint64) {
	for i, f := range list {
		if f {
			set |= 1 << i
		}
	}
	return set
}

func unflag(set uint64, list ...*bool) bool {
	for i, f := range list {
		*f = set&(1<<i) != 0
	}
	return set>>len(list) == 0
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (p *parcel) encode() []byte {
	b := appendPlaces([]byte{SessionFormat}, p.places)
	b = binary.AppendUvarint(b, uint64(len(p.sessions)))
	for i := range p.sessions {
		b = p.sessions[i].encode(b)
	}
	return b
}

func appendPlaces(b []byte, places []Binding) []byte {
	b = binary.AppendUvarint(b, uint64(len(places)))
	for i := range places {
		x := &places[i]
		for _, s := range [...]string{x.Address, x.Listener, x.Cluster, x.Level, x.Server} {
			b = appendText(b, s)
		}
		for _, d := range [...]time.Duration{x.clientIdle, x.serverIdle, x.halfClose, x.keepalive, x.userTimeout} {
			b = binary.AppendVarint(b, int64(d))
		}
		b = append(b, byte(x.records))
	}
	return b
}

func (t *travelling) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(t.place))
	b = binary.AppendUvarint(b, t.id)
	var from compactAddr
	from.set(t.from)
	b = append(b, from.size)
	b = append(b, from.ip[:from.size]...)
	b = binary.AppendUvarint(b, uint64(from.port))
	for _, d := range [...]time.Duration{t.begun, t.clientAt, t.serverAt, t.halfAt} {
		b = binary.AppendVarint(b, int64(d))
	}
	b = binary.AppendUvarint(b, uint64(t.connected))
	b = binary.AppendUvarint(b, uint64(t.firstByte))
	b = binary.AppendUvarint(b, uint64(t.attempts))
	b = binary.AppendUvarint(b, flags(t.settled))
	for _, s := range [...]*travellingSocket{&t.client, &t.server} {
		b = binary.AppendUvarint(b, flags(s.fin, s.local, s.urgent, s.primed, s.nodelay, s.quiet))
		b = binary.AppendUvarint(b, uint64(s.preface))
	}
	for _, s := range [...]*travellingStream{&t.up, &t.down} {
		b = binary.AppendUvarint(b, s.bytes)
		b = append(b, s.full)
		b = binary.AppendUvarint(b, flags(s.eof, s.shut, s.pipe))
		b = binary.AppendUvarint(b, uint64(s.inPipe))
		b = binary.AppendUvarint(b, uint64(len(s.held)))
		b = append(b, s.held...)
		b = binary.AppendUvarint(b, uint64(s.lead))
	}
	return b
}

// parcelReader reads what another process has written. The first thing that is wrong stops it.
type parcelReader struct {
	rest []byte
	err  error
}

func (r *parcelReader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errParcel, what)
	}
	r.rest = nil
}

func (r *parcelReader) number(most uint64, what string) uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > most {
		r.fail(what)
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *parcelReader) duration(what string) time.Duration {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail(what)
		return 0
	}
	r.rest = r.rest[n:]
	return time.Duration(v)
}

// positive is a duration that a setting may have.
func (r *parcelReader) positive(what string) time.Duration {
	d := r.duration(what)
	if d < 0 {
		r.fail(what)
	}
	return d
}

func (r *parcelReader) bytes(n uint64, what string) []byte {
	if uint64(len(r.rest)) < n {
		r.fail(what)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *parcelReader) text(what string) string {
	return string(r.bytes(r.number(parcelText, what), what))
}

func (r *parcelReader) flags(what string, list ...*bool) {
	if !unflag(r.number(math.MaxUint64, what), list...) {
		r.fail(what)
	}
}

// decodeParcel reads a parcel. What it holds shares memory with b, and is as it should be: numbers within bounds, places
// that exist, one descriptor for each socket and pipe.
func decodeParcel(b []byte, descriptors int) (*parcel, error) {
	r := &parcelReader{rest: b}
	if format := r.number(math.MaxUint8, "format"); r.err == nil && format != SessionFormat {
		return nil, fmt.Errorf("%w: they are of format %d", errParcel, format)
	}
	p := &parcel{places: r.places()}
	needed := 0
	for range r.number(parcelSessions, "sessions") {
		t := r.session(len(p.places))
		if r.err != nil {
			return nil, r.err
		}
		needed += t.descriptors()
		p.sessions = append(p.sessions, t)
	}
	if r.end(needed, descriptors); r.err != nil {
		return nil, r.err
	}
	return p, nil
}

// sourceEnded checks that everything was read, and that the descriptors are as many as are needed.
func (r *parcelReader) end(needed, descriptors int) {
	switch {
	case r.err != nil:
	case len(r.rest) > 0:
		r.fail("bytes after the last session")
	case needed != descriptors:
		r.fail(fmt.Sprintf("%d descriptors for %d", descriptors, needed))
	}
}

func (r *parcelReader) places() (places []Binding) {
	for range r.number(MaxDescriptors, "places") {
		x := Binding{Address: r.text("listener"), Listener: r.text("listener"), Cluster: r.text("cluster"), Level: r.text("level"), Server: r.text("server")}
		for _, d := range [...]*time.Duration{&x.clientIdle, &x.serverIdle, &x.halfClose, &x.keepalive, &x.userTimeout} {
			*d = r.positive("timeout")
		}
		x.records = Records(r.number(uint64(RecordAll), "records"))
		places = append(places, x)
		if r.err != nil {
			return nil
		}
	}
	return places
}

func (r *parcelReader) session(places int) travelling {
	var t travelling
	t.place = int(r.number(math.MaxInt32, "place"))
	if t.place >= places {
		r.fail("place")
	}
	t.id = r.number(math.MaxUint64, "id")
	from := compactAddr{size: uint8(r.number(16, "client"))}
	if from.size != 0 && from.size != 4 && from.size != 16 {
		r.fail("client")
	}
	copy(from.ip[:], r.bytes(uint64(from.size), "client"))
	from.port = uint16(r.number(math.MaxUint16, "port"))
	if r.err == nil {
		t.from = from.get()
	}
	t.begun, t.clientAt, t.serverAt = r.duration("time"), r.duration("time"), r.duration("time")
	t.halfAt = r.positive("time")
	t.connected, t.firstByte = since(r.number(math.MaxUint32, "time")), since(r.number(math.MaxUint32, "time"))
	t.attempts = uint16(r.number(math.MaxUint16, "attempts"))
	r.flags("flags", &t.settled)
	for _, s := range [...]*travellingSocket{&t.client, &t.server} {
		r.flags("socket", &s.fin, &s.local, &s.urgent, &s.primed, &s.nodelay, &s.quiet)
		s.preface = uint16(r.number(math.MaxUint16, "preface"))
	}
	for _, s := range [...]*travellingStream{&t.up, &t.down} {
		s.bytes = r.number(math.MaxUint64, "bytes")
		s.full = uint8(r.number(spliceAfter, "full"))
		r.flags("stream", &s.eof, &s.shut, &s.pipe)
		s.inPipe = int(r.number(pipeSize, "bytes in a pipe"))
		s.held = r.bytes(r.number(scratchSize, "bytes held"), "bytes held")
		s.lead = uint16(r.number(uint64(len(s.held)), "lead"))
		if s.inPipe > 0 && (!s.pipe || len(s.held) > 0) { // bytes are in one of the two, or their order is not known
			r.fail("bytes in a pipe")
		}
		if s.shut && (!s.eof || s.inPipe > 0 || len(s.held) > 0) {
			r.fail("an end before the last bytes")
		}
	}
	return t
}
