package l4

import (
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"weir/balance"
	"weir/internal/proxy"
)

// HashKey is what the hash methods use as the key of a client.
type HashKey uint8

// The hash keys. NoHash is for methods without a key.
const (
	NoHash HashKey = iota
	HashClientIP
	HashClientIPPort
	HashLocalAddress
	HashProxyTLV
	HashServerName
)

// Records selects the ended sessions that are recorded.
type Records uint8

// The selections of records.
const (
	RecordNone Records = iota
	RecordErrors
	RecordAll
)

// Settings are the immutable settings of a listener. A session keeps those of the time when it began. A duration of 0
// means none, unless said otherwise.
type Settings struct {
	Name        string
	Cluster     *balance.Cluster
	ClusterName string         // for records
	LevelNames  map[int]string // names or numbers of the levels by key, for records
	Levels      []int          // keys of the cluster's levels to try, in order; nil = all
	Hash        HashKey
	Routes      *Routes     // choose the settings of a session by its client; nil = these are its settings
	Route       string      // the name of the route that has chosen these; "" = none
	RouteStats  *RouteStats // of that route; nil = not counted
	HashTLV     byte        // with HashProxyTLV: the type
	HashSubtype byte        // with HashProxyTLV: the byte before the value; 0 = none
	Records     Records
	Admission   Admission

	WaitWhenFull bool // TCP: at Admission.MaxSessions and at the limit of the process, clients wait in the kernel's queue

	AcceptProxy    bool          // every client must send a PROXY header
	TrustedProxies *AddressSet   // peers that may send one
	ProxyTimeout   time.Duration // > 0 with AcceptProxy; for the whole header, from the accept

	ConnectTimeout  time.Duration // > 0
	TryTimeout      time.Duration
	QueueTimeout    time.Duration
	Greeting        Greeting
	GreetingTimeout time.Duration // > 0 with GreetingMySQL
	HoldTimeout     time.Duration // how long sessions wait while no server can serve
	ClientIdle      time.Duration
	ServerIdle      time.Duration
	HalfClose       time.Duration // > 0
	MaxRateUp       int64         // bytes per second of a TCP session, client to server; 0 = no limit
	MaxRateDown     int64         // likewise, server to client
	MaxAge          time.Duration // of a TCP session
	AgeJitter       int           // percent of MaxAge, above or below
	Closer          *Closer       // of the cluster; nil = no session is closed for its age
	Freebind        bool          // bind addresses that this host lacks
	Promote         *PromoteAfter // when the kernel forwards a session; nil = never
	SocketOptions

	// UDP.
	FlowTimeout time.Duration   // > 0
	Servers     ServerAddresses // of the cluster
	Drain       time.Duration   // how long a flow stays at the old address of a server that has moved
	Responses   int             // replies per datagram after which the flow ends; 0 = any number
	Requests    int             // datagrams of a client after which its flow is balanced again; 0 = any number
	MaxFlowAge  time.Duration   // after which a flow is balanced again at its next datagram
	EvictFlows  bool            // Admission.MaxSessions is max_flows: a new flow evicts an unanswered one
}

// SocketOptions are those of listen sockets that a reload changes, and those that accepted sockets inherit.
type SocketOptions struct {
	Keepalive   time.Duration
	UserTimeout time.Duration
	Backlog     int
	DeferAccept bool // a client is accepted when it has sent bytes, or after about a second
	FastOpen    int  // clients whose handshake may be incomplete when they send; 0 = none
	UnixFile    UnixFile
	Interface   string // accept only clients that arrive there; "" = any
}

// LevelName returns the name of a level in records.
func (set *Settings) LevelName(level int) string {
	if tag, ok := set.LevelNames[level]; ok {
		return tag
	}
	return strconv.Itoa(level + 1)
}

// LevelKey returns the key of the level with a name, or -1.
func (set *Settings) LevelKey(tag string) int {
	for key, t := range set.LevelNames {
		if t == tag {
			return key
		}
	}
	return -1
}

// keepaliveCount unanswered keepalive probes, Keepalive apart, end a session: a host that is gone is detected within
// four times Keepalive.
const keepaliveCount = 3

// keepalive sets the keepalive parameters of a socket. Accepted sockets inherit them from the listen socket.
func (set *Settings) keepalive(fd int32) {
	if set.Keepalive > 0 {
		seconds := int(max(set.Keepalive, time.Second) / time.Second)
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds)
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds)
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepaliveCount)
	}
}

// hashKey returns the hash key of a client, or false if it has none. local returns the address that the client connected
// to. header is its PROXY header; nil = none.
func (set *Settings) hashKey(client netip.AddrPort, local func() netip.AddrPort, header *proxy.Header) (uint64, bool) {
	switch set.Hash {
	case NoHash, HashServerName: // a datagram has no ClientHello
		return 0, false
	case HashProxyTLV:
		if header == nil {
			return 0, false
		}
		value, _ := header.TLV(set.HashTLV)
		if set.HashSubtype != 0 {
			if len(value) == 0 || value[0] != set.HashSubtype {
				return 0, false
			}
			value = value[1:]
		}
		return balance.HashKey(value), len(value) > 0
	case HashLocalAddress:
		return set.addressKey(local())
	}
	return set.addressKey(client)
}

// addressKey returns the hash key of an address.
func (set *Settings) addressKey(at netip.AddrPort) (uint64, bool) {
	if !at.IsValid() {
		return 0, false
	}
	var key [18]byte
	n := putIP(key[:], at.Addr())
	if set.Hash != HashClientIP {
		key[n], key[n+1] = byte(at.Port()>>8), byte(at.Port())
		n += 2
	}
	return balance.HashKey(key[:n]), true
}
