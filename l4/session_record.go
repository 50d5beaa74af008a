package l4

import (
	"net/netip"
	"time"

	"weir/balance"
)

// Record describes a session that has ended.
type Record struct {
	ID        uint64
	Listener  string
	Client    netip.AddrPort // zero on a unix socket
	Cluster   string
	Level     string // "" if no server was picked
	Server    string // the last one picked; "" if none was
	Attempts  int
	Connect   time.Duration // from the accepted client to the connected server; negative = never
	FirstByte time.Duration // from the accepted client to the server's first byte; negative = never
	Duration  time.Duration
	BytesUp   uint64 // client to server, taken by the server's socket
	BytesDown uint64
	Termination
}

func (f *flow) record(now time.Duration, server *balance.Server, level int, end Termination) Record {
	r := Record{
		ID: f.id, Listener: f.set.Name, Client: f.client(), Cluster: f.set.ClusterName,
		Attempts: int(f.attemptCount), Connect: -1, FirstByte: -1, Duration: now - f.startedAt,
		BytesUp: f.bytesUp, BytesDown: f.bytesDown, Termination: end,
	}
	if server != nil {
		r.Server = server.Name()
		r.Level = f.set.levelName(level)
	}
	if f.connected > 0 {
		r.Connect = f.connected.duration()
	}
	if f.firstByte > 0 {
		r.FirstByte = f.firstByte.duration()
	}
	return r
}

func (s *session) record(now time.Duration, server *balance.Server, level int) Record {
	r := Record{
		ID: s.id, Listener: s.set.Name, Client: s.clientAddr.get(), Cluster: s.set.ClusterName,
		Attempts: int(s.attemptCount), Connect: -1, FirstByte: -1, Duration: now - s.startedAt,
		BytesUp: s.up.bytes, BytesDown: s.down.bytes, Termination: s.end,
	}
	if server != nil {
		r.Server = server.Name()
		r.Level = s.set.levelName(level)
	}
	if s.connected > 0 {
		r.Connect = s.connected.duration()
	}
	if s.firstByte > 0 {
		r.FirstByte = s.firstByte.duration()
	}
	return r
}
