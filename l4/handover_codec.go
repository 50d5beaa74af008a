package l4

// The encoding of sessions in a handover batch. Descriptors travel beside it. Numbers are variable-length
// (encoding/binary); strings and bytes have their length before them.
//
//     batch    format, bindings, sessions
//     binding  address and name of the listener, cluster, level, server and its address, route, PROXY header that it gets;
//              timeouts, limits of the rate and records of its sessions
//     session  binding, id, client, server name, facts of the PROXY header, times, state of both sockets, both streams with the bytes that wait in them
//
// The descriptors of a session are, in this order: the client's socket, the server's, then both ends of the pipe of
// each stream that has one. A session that is held or queued has only the first, and its wait instead of the server's socket and the
// streams. Times are on the plane's clock, which both processes share.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"weir/internal/clienthello"
	"weir/internal/proxy"
)

// SessionFormat is the version of this encoding. Every change of the encoding changes it.
const SessionFormat = 8

// errBatch is wrapped by every decoding error.
var errBatch = errors.New("handover: malformed sessions")

const (
	// maxDescriptors is the most descriptors in a handover message: SCM_MAX_FD of the kernel.
	maxDescriptors = 253

	maxBatchSessions = maxDescriptors / 2 // in a batch
	maxTextSize      = 4096               // of a name
)

// Binding is what sessions of a batch have in common, in names that both processes know.
type Binding struct {
	Address  string // of the listener
	Listener string // its name
	Cluster  string
	Level    string // its name or number
	Server   string
	At       string // the server's address when it was picked, as in the configuration
	Route    string // of the listener, as in Settings

	sendProxy uint8 // as in Target
	limitTLVs bool  // proxyTLVs are those that are passed on, else all
	proxyTLVs proxy.TypeSet

	clientIdle, serverIdle, halfClose, keepalive, userTimeout time.Duration
	maxRateUp, maxRateDown                                    int64
	records                                                   Records

	Waiting bool // its sessions are held or queued; they have no server, and the settings of the listener in the new process
}

// sessionBatch is the content of a batch.
type sessionBatch struct {
	bindings []Binding
	sessions []sessionState
}

// sessionState is a session without its descriptors.
type sessionState struct {
	binding    int
	id         uint64
	clientAddr netip.AddrPort
	serverName string     // in the client's ClientHello
	proxy      ProxyFacts // of the client's PROXY header

	startedAt, clientActiveAt, serverActiveAt, halfClosedAt time.Duration
	connected, firstByte                                    since

	attemptCount   uint16
	keepaliveSet   bool
	askedLast      bool // the last byte came from the client
	client, server socketState
	up, down       streamState

	wait *waitHandover // nil unless it is held or queued
}

// waitHandover is what a session has besides that is held, or queued for a full server.
type waitHandover struct {
	since, until time.Duration  // of the holds
	held         bool           // it has a place among the held sessions
	startedAt    time.Duration  // try_timeout counts from here; 0 = from its arrival
	queueUntil   time.Duration  // end of the wait for a full server; 0 = has not waited
	queueNumber  uint64         // position in the order of arrival; 0 = has not waited
	dest         netip.AddrPort // in the client's PROXY header
	proxyLocal   bool
	tlvs         []byte
	refusal      []byte // the last one of a server, which the client gets if none serves it
	hello        []byte // what was read of the client: a ClientHello in pieces
}

// socketState is what events do not report again about a socket.
type socketState struct {
	fin, local, urgent, hasSent, nodelay, ackDelayed bool
	headerSize                                       uint16
}

// streamState is one direction. Bytes in a pipe travel with the pipe.
type streamState struct {
	bytes        uint64
	fullReads    uint8
	eof, finSent bool
	held         []byte // that the target did not take; at most one buffer
	headerBytes  uint16 // part of held that is not from the source
	pipe         bool
	inPipe       int           // bytes in the pipe
	bucketFull   time.Duration // when the bucket of the limit of its rate will be full
}

func (t *sessionState) descriptors() int {
	if t.wait != nil {
		return 1 // no server
	}
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

func appendAddress(b []byte, at netip.AddrPort) []byte {
	var c compactAddr
	c.set(at)
	b = append(b, c.size)
	b = append(b, c.ip[:c.size]...)
	return binary.AppendUvarint(b, uint64(c.port))
}

func (r *batchReader) address(what string) netip.AddrPort {
	c := compactAddr{size: uint8(r.number(16, what))}
	if c.size != 0 && c.size != 4 && c.size != 16 {
		r.fail(what)
	}
	copy(c.ip[:], r.bytes(uint64(c.size), what))
	c.port = uint16(r.number(math.MaxUint16, what))
	if r.err != nil {
		return netip.AddrPort{}
	}
	return c.get()
}

func (p *sessionBatch) encode() []byte {
	b := appendBindings([]byte{SessionFormat}, p.bindings)
	b = binary.AppendUvarint(b, uint64(len(p.sessions)))
	for i := range p.sessions {
		b = p.sessions[i].encode(b)
	}
	return b
}

func appendBindings(b []byte, bindings []Binding) []byte {
	b = binary.AppendUvarint(b, uint64(len(bindings)))
	for i := range bindings {
		x := &bindings[i]
		for _, s := range [...]string{x.Address, x.Listener, x.Cluster, x.Level, x.Server, x.At, x.Route} {
			b = appendText(b, s)
		}
		b = append(b, x.sendProxy)
		b = binary.AppendUvarint(b, flags(x.limitTLVs))
		for _, bits := range x.proxyTLVs {
			b = binary.AppendUvarint(b, bits)
		}
		for _, d := range [...]time.Duration{x.clientIdle, x.serverIdle, x.halfClose, x.keepalive, x.userTimeout} {
			b = binary.AppendVarint(b, int64(d))
		}
		b = binary.AppendUvarint(b, uint64(x.maxRateUp))
		b = binary.AppendUvarint(b, uint64(x.maxRateDown))
		b = append(b, byte(x.records))
		b = binary.AppendUvarint(b, flags(x.Waiting))
	}
	return b
}

func (t *sessionState) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(t.binding))
	b = binary.AppendUvarint(b, t.id)
	b = appendAddress(b, t.clientAddr)
	b = appendText(b, t.serverName)
	for _, s := range [...]string{t.proxy.AWSVPCEndpoint, t.proxy.AzureLink, t.proxy.GCPConnection, t.proxy.TLSVersion, t.proxy.TLSClientCN} {
		b = appendText(b, s)
	}
	for _, d := range [...]time.Duration{t.startedAt, t.clientActiveAt, t.serverActiveAt, t.halfClosedAt} {
		b = binary.AppendVarint(b, int64(d))
	}
	b = binary.AppendUvarint(b, uint64(t.connected))
	b = binary.AppendUvarint(b, uint64(t.firstByte))
	b = binary.AppendUvarint(b, uint64(t.attemptCount))
	b = binary.AppendUvarint(b, flags(t.keepaliveSet, t.askedLast, t.wait != nil))
	if t.wait != nil {
		return t.wait.encode(t.client.encode(b))
	}
	for _, s := range [...]*socketState{&t.client, &t.server} {
		b = s.encode(b)
	}
	for _, s := range [...]*streamState{&t.up, &t.down} {
		b = binary.AppendUvarint(b, s.bytes)
		b = append(b, s.fullReads)
		b = binary.AppendUvarint(b, flags(s.eof, s.finSent, s.pipe))
		b = binary.AppendUvarint(b, uint64(s.inPipe))
		b = binary.AppendUvarint(b, uint64(len(s.held)))
		b = append(b, s.held...)
		b = binary.AppendUvarint(b, uint64(s.headerBytes))
		b = binary.AppendVarint(b, int64(s.bucketFull))
	}
	return b
}

func (s *socketState) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, flags(s.fin, s.local, s.urgent, s.hasSent, s.nodelay, s.ackDelayed))
	return binary.AppendUvarint(b, uint64(s.headerSize))
}

func (h *waitHandover) encode(b []byte) []byte {
	b = binary.AppendVarint(b, int64(h.since))
	b = binary.AppendVarint(b, int64(h.until))
	b = appendAddress(b, h.dest)
	b = binary.AppendVarint(b, int64(h.startedAt))
	b = binary.AppendVarint(b, int64(h.queueUntil))
	b = binary.AppendUvarint(b, h.queueNumber)
	b = binary.AppendUvarint(b, flags(h.proxyLocal, h.held))
	b = binary.AppendUvarint(b, uint64(len(h.tlvs)))
	b = append(b, h.tlvs...)
	b = binary.AppendUvarint(b, uint64(len(h.refusal)))
	b = append(b, h.refusal...)
	b = binary.AppendUvarint(b, uint64(len(h.hello)))
	return append(b, h.hello...)
}

// batchReader decodes. The first error stops it.
type batchReader struct {
	rest []byte
	err  error
}

func (r *batchReader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errBatch, what)
	}
	r.rest = nil
}

func (r *batchReader) number(most uint64, what string) uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > most {
		r.fail(what)
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *batchReader) duration(what string) time.Duration {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail(what)
		return 0
	}
	r.rest = r.rest[n:]
	return time.Duration(v)
}

// nonNegative reads the duration of a setting.
func (r *batchReader) nonNegative(what string) time.Duration {
	d := r.duration(what)
	if d < 0 {
		r.fail(what)
	}
	return d
}

func (r *batchReader) bytes(n uint64, what string) []byte {
	if uint64(len(r.rest)) < n {
		r.fail(what)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *batchReader) text(what string) string {
	return string(r.bytes(r.number(maxTextSize, what), what))
}

func (r *batchReader) flags(what string, list ...*bool) {
	if !unflag(r.number(math.MaxUint64, what), list...) {
		r.fail(what)
	}
}

// decodeSessions decodes a batch and validates it: numbers are within bounds, bindings exist, and each socket and pipe
// has its descriptors. The result shares memory with b.
func decodeSessions(b []byte, descriptors int) (*sessionBatch, error) {
	r := &batchReader{rest: b}
	if format := r.number(math.MaxUint8, "format"); r.err == nil && format != SessionFormat {
		return nil, fmt.Errorf("%w: want format %d, got %d", errBatch, SessionFormat, format)
	}
	p := &sessionBatch{bindings: r.bindings()}
	needed := 0
	for range r.number(maxBatchSessions, "sessions") {
		t := r.session(len(p.bindings))
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

// end checks that everything was read and the number of descriptors is right.
func (r *batchReader) end(needed, descriptors int) {
	switch {
	case r.err != nil:
	case len(r.rest) > 0:
		r.fail("bytes after the last session")
	case needed != descriptors:
		r.fail(fmt.Sprintf("%d descriptors for %d", descriptors, needed))
	}
}

func (r *batchReader) bindings() (bindings []Binding) {
	for range r.number(maxDescriptors, "bindings") {
		x := Binding{Address: r.text("listener"), Listener: r.text("listener"), Cluster: r.text("cluster"), Level: r.text("level"), Server: r.text("server"), At: r.text("server"), Route: r.text("route")}
		x.sendProxy = uint8(r.number(2, "PROXY header"))
		r.flags("PROXY header", &x.limitTLVs)
		for i := range x.proxyTLVs {
			x.proxyTLVs[i] = r.number(math.MaxUint64, "PROXY header")
		}
		for _, d := range [...]*time.Duration{&x.clientIdle, &x.serverIdle, &x.halfClose, &x.keepalive, &x.userTimeout} {
			*d = r.nonNegative("timeout")
		}
		x.maxRateUp, x.maxRateDown = int64(r.number(math.MaxInt64, "rate")), int64(r.number(math.MaxInt64, "rate"))
		x.records = Records(r.number(uint64(RecordAll), "records"))
		r.flags("binding", &x.Waiting)
		bindings = append(bindings, x)
		if r.err != nil {
			return nil
		}
	}
	return bindings
}

func (r *batchReader) session(bindings int) sessionState {
	var t sessionState
	t.binding = int(r.number(math.MaxInt32, "binding"))
	if t.binding >= bindings {
		r.fail("binding")
	}
	t.id = r.number(math.MaxUint64, "id")
	t.clientAddr = r.address("client")
	t.serverName = r.text("server name")
	for _, s := range [...]*string{&t.proxy.AWSVPCEndpoint, &t.proxy.AzureLink, &t.proxy.GCPConnection, &t.proxy.TLSVersion, &t.proxy.TLSClientCN} {
		*s = r.text("PROXY header")
	}
	t.startedAt, t.clientActiveAt, t.serverActiveAt = r.duration("time"), r.duration("time"), r.duration("time")
	t.halfClosedAt = r.nonNegative("time")
	t.connected, t.firstByte = since(r.number(math.MaxUint32, "time")), since(r.number(math.MaxUint32, "time"))
	t.attemptCount = uint16(r.number(math.MaxUint16, "attempts"))
	var held bool
	r.flags("flags", &t.keepaliveSet, &t.askedLast, &held)
	r.socket(&t.client)
	if held {
		t.wait = r.wait()
		return t
	}
	r.socket(&t.server)
	for _, s := range [...]*streamState{&t.up, &t.down} {
		s.bytes = r.number(math.MaxUint64, "bytes")
		s.fullReads = uint8(r.number(spliceAfter, "full"))
		r.flags("stream", &s.eof, &s.finSent, &s.pipe)
		s.inPipe = int(r.number(pipeSize, "bytes in a pipe"))
		s.held = r.bytes(r.number(scratchSize, "bytes held"), "bytes held")
		s.headerBytes = uint16(r.number(uint64(len(s.held)), "lead"))
		s.bucketFull = r.duration("bucket")
		if s.inPipe > 0 && (!s.pipe || len(s.held) > 0) { // in both, their order would be unknown
			r.fail("bytes in a pipe")
		}
		if s.finSent && (!s.eof || s.inPipe > 0 || len(s.held) > 0) {
			r.fail("an end before the last bytes")
		}
	}
	return t
}

func (r *batchReader) socket(s *socketState) {
	r.flags("socket", &s.fin, &s.local, &s.urgent, &s.hasSent, &s.nodelay, &s.ackDelayed)
	s.headerSize = uint16(r.number(math.MaxUint16, "preface"))
}

func (r *batchReader) wait() *waitHandover {
	h := &waitHandover{since: r.duration("time"), until: r.duration("time"), dest: r.address("destination")}
	h.startedAt, h.queueUntil = r.duration("time"), r.duration("time")
	h.queueNumber = r.number(math.MaxUint64, "position")
	r.flags("hold", &h.proxyLocal, &h.held)
	h.tlvs = r.bytes(r.number(proxy.MaxV2, "TLVs"), "TLVs")
	h.refusal = r.bytes(r.number(greetingWindow, "refusal"), "refusal")
	h.hello = r.bytes(r.number(sentMax+clienthello.MaxStream, "ClientHello"), "ClientHello")
	return h
}
