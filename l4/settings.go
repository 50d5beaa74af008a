package l4

import (
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"weir/balance"
	"weir/internal/proxy"
)

// HashKey says what of a client is hashed for the methods that balance by key.
type HashKey uint8

// What can be hashed. NoHash is for the methods that need no key.
const (
	NoHash HashKey = iota
	HashClientIP
	HashClientIPPort
	HashLocalAddress
	HashProxyTLV
)

// Records says which ended sessions are recorded.
type Records uint8

// Which sessions get a record.
const (
	RecordNone Records = iota
	RecordErrors
	RecordAll
)

// Settings is what a listener does with the clients that arrive: immutable, and kept by every session as it was when
// the session began. Times of 0 mean none unless said otherwise.
type Settings struct {
	Name        string
	Cluster     *balance.Cluster
	ClusterName string         // the cluster's name, for records
	LevelNames  map[int]string // the levels' names or numbers by key, for records
	Levels      []int          // keys of the cluster's levels to try, in order; nil = all
	Hash        HashKey
	HashTLV     byte // with HashProxyTLV: the type
	Records     Records
	Admission   Admission

	AcceptProxy    bool          // every client begins with a PROXY header
	TrustedProxies *AddressSet   // who may send one
	ProxyTimeout   time.Duration // > 0 with AcceptProxy; for the whole header, from the client's arrival

	ConnectTimeout time.Duration // > 0
	TryTimeout     time.Duration
	QueueTimeout   time.Duration
	ClientIdle     time.Duration
	ServerIdle     time.Duration
	HalfClose      time.Duration // > 0
	Keepalive      time.Duration
	UserTimeout    time.Duration
	Backlog        int

	// Of UDP listeners.
	FlowTimeout time.Duration // > 0
	Drain       time.Duration // how long a flow goes on to where its server was, after the server has got another address
	Responses   int           // replies to each datagram, after which the flow ends; 0 = any number
	EvictFlows  bool          // Admission.MaxSessions is max_flows: an unanswered flow makes room for a newcomer
}

// tryTimedOut reports whether try_timeout is over.
func (set *Settings) tryTimedOut(spent time.Duration) bool {
	return set.TryTimeout > 0 && spent >= set.TryTimeout
}

// levelName is what a level is called in records.
func (set *Settings) levelName(level int) string {
	if tag, ok := set.LevelNames[level]; ok {
		return tag
	}
	return strconv.Itoa(level + 1)
}

// LevelKey is the key of the level that a tag stands for, or one that no level has.
func (set *Settings) LevelKey(tag string) int {
	for key, t := range set.LevelNames {
		if t == tag {
			return key
		}
	}
	return -1
}

// keepaliveCount is how many unanswered keepalive messages, Keepalive apart, end a session: a host that is gone is
// noticed within four times Keepalive.
const keepaliveCount = 3

// keepalive says how a socket is to be kept alive, once it is. Accepted sockets inherit this from the listening one.
func (set *Settings) keepalive(fd int32) {
	if set.Keepalive > 0 {
		seconds := int(max(set.Keepalive, time.Second) / time.Second)
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds)
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds)
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepaliveCount)
	}
}

// hashKey is the key by which a session is balanced; false when it has none. said is what its client's PROXY header said;
// nil = it came without.
func (s *session) hashKey(header *proxy.Header) (uint64, bool) {
	at := s.clientAddr.get()
	switch s.set.Hash {
	case NoHash:
		return 0, false
	case HashProxyTLV:
		if header == nil {
			return 0, false
		}
		value, _ := header.TLV(s.set.HashTLV)
		return balance.HashKey(value), len(value) > 0
	case HashLocalAddress:
		at = s.destination()
	}
	return s.set.addressKey(at)
}

// addressKey is the key by which an address is balanced.
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
