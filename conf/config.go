package conf

import (
	"net/netip"
	"time"
)

// Config is a whole configuration: validated, defaults filled in, names bound to what they refer to. It is pure data;
// the same file gives the same value on any machine. Host names are kept as names: resolving them is the engine's work.
type Config struct {
	File      string // as given to Load
	Runtime   Runtime
	Log       Log
	Admin     Admin
	Listeners []Listener   // in file order; at least one
	Clusters  []Cluster    // in file order
	Hooks     []Hook       // in file order; whom events are told
	Warnings  []Diagnostic // odd but usable, such as a cluster that no listener uses

	positions map[keyID]Diagnostic // where keys stand that the host has a say in; without a text
}

// Runtime holds what concerns the whole process.
type Runtime struct {
	Loops        int           // event loops; 0 = one per CPU. Fixed for the life of a process
	MaxSessions  int           // whole process; 0 = what the descriptor limit allows
	DrainTimeout time.Duration // how long leaving sessions may go on before they are cut
	User         string        // user or user:group to become; "" = nobody else. Fixed for the life of a process
	StateFile    string        // where what was said and found out is kept over a restart; "" = nowhere
}

// Log says what is logged and where.
type Log struct {
	Level    string // debug, info, warn or error
	Format   string // Text or json
	File     string // "" = standard error
	Sessions string // off, errors or all
}

// Admin says where the API is served.
type Admin struct {
	Listen    []Address // unix sockets and TCP addresses, never host names; empty = nowhere
	Explicit  bool      // the file has an [admin] table: what cannot be had is an error
	TokenFile string    // "" = no token
}

// Hook is told of events, by a program that is run for each or by a request. Exactly one of Exec and URL is set.
type Hook struct {
	Name    string        // unique; never empty
	On      []string      // some of EventKinds; empty = all
	Exec    []string      // the program and its arguments
	URL     string        // http or https; it may hold a secret
	Timeout time.Duration // > 0
}

// Address is a place to listen at or to dial: a TCP or UDP address, a host name with a port, or a unix socket.
// Exactly one of the three forms is set. The zero value is no endpoint.
type Address struct {
	Addr netip.AddrPort // a literal address; IPv4-mapped IPv6 is unmapped
	Host string         // a host name, with Port
	Port uint16         // the port, in both of the forms above
	Path string         // a unix socket
}

// Listener is where clients arrive. A listener with several addresses is one listener: one name, one set of limits.
type Listener struct {
	Name      string
	Addresses []Address // never host names; port ranges are already expanded
	Protocol  string    // tcp or udp
	Cluster   string
	Levels    []int // indexes into the cluster's levels, in the order to try; nil = all in file order

	Allow                Clients // empty = everyone
	Deny                 Clients // wins over Allow
	MaxSessions          int     // Offset once, over all addresses; 0 = no limit
	MaxSessionsPerSource int     // Offset once from one address; 0 = no limit
	MaxSessionRate       int     // new sessions per second, with bursts of as many; 0 = no limit

	AcceptProxy    bool          // every client begins with a PROXY header
	TrustedProxies Clients       // who may speak for clients, besides those who may open the unix sockets
	ProxyTimeout   time.Duration // > 0; how long a client may take for its header

	ClientIdleTimeout time.Duration // 0 = none
	HalfCloseTimeout  time.Duration // > 0
	TCPKeepalive      time.Duration // 0 = off
	TCPUserTimeout    time.Duration // 0 = the kernel's own
	Backlog           int

	// Of udp listeners.
	FlowTimeout       time.Duration // > 0
	Responses         int           // to each datagram; 0 = any number
	MaxFlows          int           // 0 = a part of what the process may have
	MaxFlowsPerSource int           // 0 = no limit
}

// Cluster is a set of servers in levels, with a balancing method and checks.
type Cluster struct {
	Name              string
	Balance           string // wrr, rr, least_sessions, random, first, least_time, hash or maglev ("ip_hash" is stored as hash with HashKey client_ip)
	HashKey           string // one of HashKeys, or "proxy_tlv:0xNN" with two digits
	ConnectTimeout    time.Duration
	Try               int           // failed attempts per session; 0 = the number of servers in the levels chosen
	TryTimeout        time.Duration // 0 = none
	ServerIdleTimeout time.Duration // 0 = none
	Protected         bool
	SlowStart         time.Duration // 0 = off
	OnDown            string        // keep or close
	Failback          string        // auto or manual
	QueueTimeout      time.Duration // 0 = no queue
	ResolveInterval   time.Duration // > 0
	Defaults          Server        // what a server has that says nothing else, without name and address
	Levels            []Level       // Offset least one
	Checks            []Check
}

// Level is one priority tier of a cluster.
type Level struct {
	Name    string // "" = unnamed
	MinUp   int    // used while at least this many of its servers are eligible; ≥ 1
	Try     int    // failed attempts inside the level before the next one; 0 = every server once
	Servers []Server
}

// Server is one address that serves. Values inherited from its cluster are already filled in.
type Server struct {
	Name        string // default: the address as written
	Address     Address
	Weight      int // 0 to 256
	MaxFails    int // 0 = passive health off
	FailTimeout time.Duration
	State       string // ready, drain or maint
	MaxSessions int    // 0 = no limit
	Source      Source // where it is dialled and checked from; zero = the kernel's choice
	SendProxy   string // the version of the PROXY header that connections begin with, v1 or v2; "" = none
}

// Check is one kind of test run against the servers of a cluster.
type Check struct {
	Type         string // tcp http redis mysql udp exec agent agent_http
	ID           string // unique in the cluster; default: the type
	Interval     time.Duration
	FastInterval time.Duration // while a verdict is changing; default Interval
	DownInterval time.Duration // while down; default Interval
	Timeout      time.Duration // ≤ Interval
	Rise, Fall   int           // ≥ 1; agents have neither
	Port         int           // 0 = the server's own
	Address      string        // "" = the server's own host
	Servers      string        // all, up, down or list (the file's key: servers)
	ServerNames  []string      // with Watch = list

	// The monitor's own options, each for some types only.

	Steps   []Step        // tcp, udp: what to send and to expect, in order
	Quiet   bool          // tcp: connect without the server's program noticing
	Command []string      // exec: the program and its arguments
	Send    []byte        // agent: what to send first
	TTL     time.Duration // agent, agent_http: how long words hold; 0 = for ever

	Method  string   // http, agent_http: of the request; never empty
	Path    string   // begins with /
	Host    string   // "" = what is tested
	Headers []Header // in file order
	Body    []byte
	OKCodes string // status codes that pass, such as "200,40x"; never empty
	Expect  []byte // http: must occur in the body; nil = the body is not read

	User       string // redis, mysql
	Password   Secret
	Role       string        // "", primary or replica
	MaxLag     time.Duration // 0 = any
	AllowStale bool          // redis: accept a replica without a link
	Database   string        // mysql
	Galera     bool          // mysql
	AllowDonor bool          // mysql, with Galera
	Query      string        // mysql

	TLS TLS // all but udp and exec
}

// TLS says whether and how a check secures its connection.
type TLS struct {
	On         bool
	ServerName string // "" = the host's
	CAFile     string // PEM; "" = the system's
	SkipVerify bool
}

// Step is one exchange of a check: first Send is written, then the reply is read until it matches Expect or Regex.
// Empty parts are skipped.
type Step struct {
	Send   []byte // exact bytes; the file may say them as text or as "0x…" hex
	Expect []byte // must occur in the reply
	Regex  string // must match the reply; already known to compile
}
