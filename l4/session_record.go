package l4

import (
	"net/netip"
	"time"

	"weir/balance"
)

// sessionCore is what TCP sessions and UDP flows have in common.
type sessionCore struct {
	id           uint64    // unique; its low half identifies late events for an earlier user of the slot; 0 = free
	set          *Settings // of the time when the session began
	lease        balance.Lease
	startedAt    time.Duration
	connected    since // 0 = not yet
	firstByte    since // first byte or reply from the server forwarded; 0 = not yet
	attemptCount uint16
	claim        admissionClaim // on the listener's limits
	hasHop       bool           // TCP: in Plane.hops; here because the struct has room
}

// Record describes a session that has ended.
type Record struct {
	ID       uint64
	Listener string
	Client   netip.AddrPort // zero on a unix socket
	SNI      string         // the server name in the client's ClientHello; "" = none, or not read
	Route    string         // that has chosen the cluster; "" = none
	Proxy    ProxyFacts     // of the client's PROXY header
	Cluster  string
	Level    string // "" if no server was picked
	Server   string // the last one picked; "" if none was

	ServerAddress netip.AddrPort // of a server that is reached at the client's port; zero = others

	Attempts  int
	Connect   time.Duration // from the accepted client to the connected server; negative = never
	FirstByte time.Duration // from the accepted client to the server's first byte; negative = never
	Duration  time.Duration
	BytesUp   uint64 // client to server, taken by the server's socket
	BytesDown uint64
	Termination
}

// record returns the record of a session with the server of its lease, which may be released already.
func (c *sessionCore) record(now time.Duration, client netip.AddrPort, server *balance.Server, level int, up, down uint64, end Termination) Record {
	r := Record{
		ID: c.id, Listener: c.set.Name, Client: client, Route: c.set.Route, Cluster: c.set.ClusterName,
		Attempts: int(c.attemptCount), Connect: -1, FirstByte: -1, Duration: now - c.startedAt,
		BytesUp: up, BytesDown: down, Termination: end,
	}
	if server != nil {
		r.Server, r.Level = server.Name(), c.set.LevelName(level)
	}
	if c.connected > 0 {
		r.Connect = c.connected.duration()
	}
	if c.firstByte > 0 {
		r.FirstByte = c.firstByte.duration()
	}
	return r
}

// SessionInfo is a copy of the state of a session.
type SessionInfo struct {
	ID        uint64
	Listener  string
	Client    netip.AddrPort // zero on a unix socket
	SNI       string         // as in Record
	Route     string         // as in Record
	Cluster   string
	Level     string // "" while no server is picked
	Server    string
	Phase     Phase
	BytesUp   uint64
	BytesDown uint64
	Age       time.Duration
	Promoted  bool // the kernel forwards it
}

func (c *sessionCore) info(now time.Duration, client netip.AddrPort, up, down uint64, phase Phase) SessionInfo {
	r := c.record(now, client, c.lease.Server(), c.lease.Level(), up, down, Termination{Phase: phase})
	return SessionInfo{
		ID: r.ID, Listener: r.Listener, Client: client, Route: r.Route, Cluster: r.Cluster, Level: r.Level, Server: r.Server, Phase: phase,
		BytesUp: up, BytesDown: down, Age: r.Duration,
	}
}
