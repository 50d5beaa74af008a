package conf

import (
	"io/fs"
	"net/netip"
	"time"
)

// Config is a whole configuration: validated, with defaults filled in and references checked. The same file gives the
// same value on any machine. Host names are not resolved.
type Config struct {
	File      string  // as given to Load
	Shared    *Shared // from which listeners and clusters are, instead of the file; nil = none
	Runtime   Runtime
	Log       Log
	Admin     Admin
	Listeners []Listener   // in file order; at least one, unless they come from the fleet
	Clusters  []Cluster    // in file order
	Hooks     []Hook       // in file order
	VIPs      []VIP        // in file order
	Fleet     *Fleet       // nil = this weir is alone
	Warnings  []Diagnostic // valid but unusual, such as a cluster that no listener uses
	Notes     []Diagnostic // advice about what is valid and usual, for weir check

	positions map[keyID]Diagnostic // of keys whose values depend on the host; without a message
	named     []string             // paths of files that a start or a reload reads, such as files with passwords
}

// Runtime holds the settings of the process.
type Runtime struct {
	Loops             int           // event loops; 0 = one per CPU that the process may use. Cannot change while weir runs
	MaxSessions       int           // whole process; 0 = as many as the descriptor limit allows
	DrainTimeout      time.Duration // how long sessions without a listener or server may continue before they are cut
	StopDelay         time.Duration // how long listeners accept clients after a stop has begun
	User              string        // user or user:group to run as; "" = no change. Cannot change while weir runs
	StateFile         string        // keeps overrides, advice, verdicts and runtime changes across restarts; "" = none
	PromoteInterfaces []string      // where the kernel may forward packets
}

// Log configures the log.
type Log struct {
	Level    string // debug, info, warn or error
	Format   string // text or json
	File     string // "" = standard error
	Sessions string // off, errors or all
}

// Admin configures where the API is served.
type Admin struct {
	Listen        []Address // unix sockets and TCP addresses, never host names; empty = nowhere
	Explicit      bool      // the file has an [admin] table: failing to bind or to read the token is an error
	AllowPrograms bool      // clusters and servers of requests may run programs and name files and variables of this host

	// Of the TCP addresses.
	TokenFile       string // for all requests; "" = no token
	ReadTokenFile   string // for GET; "" = no token
	TLSCertFile     string // PEM; "" = no TLS
	TLSKeyFile      string // PEM; set with TLSCertFile
	TLSClientCAFile string // clients must have a certificate of these authorities; "" = no client certificates
}

// Hook is an event hook: a program that is run for each event, or a URL that each event is sent to. Exactly one of Exec
// and URL is set.
type Hook struct {
	Name    string        // unique; never empty
	On      []string      // some of EventKinds; empty = all
	Exec    []string      // the program and its arguments
	URL     string        // http or https; it may hold a secret
	Timeout time.Duration // > 0
}

// VIP is an address that this host has only while weir can serve: while it runs and each of the clusters has an eligible server.
type VIP struct {
	Address   netip.Prefix  // of a host, not masked; unique by address
	Interface string        // that gets the address
	Clusters  []string      // empty = no cluster matters
	Hold      time.Duration // how long all conditions hold before the address is added
}

// Address is an address to listen at or to connect to: a TCP or UDP address, a host name with a port, or a unix socket.
// Exactly one of the three forms is set. The zero value is no address. With SamePort, the port is 0 and the form is not a unix
// socket.
type Address struct {
	Addr netip.AddrPort // a literal address; IPv4-mapped IPv6 is unmapped
	Host string         // a host name, with Port
	Port uint16         // the port, in both of the forms above
	Path string         // a unix socket

	SamePort bool // servers: the port that the client connected to
}

// Listener is a set of addresses that accept clients, with one name and one set of limits.
type Listener struct {
	Name      string
	Addresses []Address // never host names; port ranges are already expanded
	Protocol  string    // tcp or udp
	Cluster   string
	Levels    []int   // indexes into the cluster's levels, in the order to try; nil = all in file order
	Routes    []Route // in the order in which they are tried; clients that match none go to Cluster

	Allow                   Clients // empty = every client
	Deny                    Clients // wins over Allow
	MaxSessions             int     // concurrent, over all addresses; 0 = no limit
	MaxSessionsPerSource    int     // concurrent, per source; 0 = no limit
	MaxSessionRate          int     // new sessions per second, with bursts of the same size; 0 = no limit
	MaxSessionRatePerSource int     // likewise, per source
	WhenFull                string  // at MaxSessions: reject or wait
	SourcePrefixV6          int     // length of the IPv6 prefix that is a source

	AcceptProxy    bool          // every client must send a PROXY header
	TrustedProxies Clients       // clients that may send PROXY headers; clients of unix sockets may always
	ProxyTimeout   time.Duration // > 0; from accept to the last byte of the header

	PrereadTimeout time.Duration // > 0; for the whole ClientHello

	ClientIdleTimeout time.Duration // 0 = none
	HalfCloseTimeout  time.Duration // > 0
	TCPKeepalive      time.Duration // 0 = off
	TCPUserTimeout    time.Duration // 0 = the kernel's default
	MaxRateUp         int64         // bytes per second of a session, client to server; 0 = no limit
	MaxRateDown       int64         // likewise, server to client
	Backlog           int
	DeferAccept       bool // accept a client when it has sent bytes, or after about a second
	FastOpen          int  // clients that may wait with data in their SYN; 0 = none

	Freebind     bool   // bind addresses that the host lacks
	Promote      string // off or auto
	PromoteAfter PromoteAfter
	Interface    string // accept only clients that arrive there; "" = any

	// For unix sockets only.
	UnixMode  fs.FileMode // permissions of the file
	UnixOwner string      // name or number; "" = the user of the process
	UnixGroup string      // name or number; "" = no change

	// For udp only.
	FlowTimeout       time.Duration // > 0
	Requests          int           // datagrams of a client after which its flow is balanced again; 0 = any number
	MaxFlowAge        time.Duration // after which a flow is balanced again; 0 = never
	Responses         int           // to each datagram of a client; 0 = any number
	MaxFlows          int           // 0 = an equal share of the process's sessions
	MaxFlowsPerSource int           // 0 = no limit
}

// Cluster is a set of servers in levels, with a balancing method and checks.
type Cluster struct {
	Name              string
	Balance           string // wrr, rr, least_sessions, random, first, least_time, hash or maglev ("ip_hash" is stored as hash with HashKey client_ip)
	HashKey           string // one of HashKeys, or "proxy_tlv:0xNN" with two digits
	ConnectTimeout    time.Duration
	Try               int           // failed attempts per session; 0 = the number of servers in the chosen levels
	TryTimeout        time.Duration // 0 = none
	ServerIdleTimeout time.Duration // 0 = none
	Protected         bool
	SlowStart         time.Duration // 0 = off
	OnDown            string        // keep or close
	Failback          string        // auto or manual
	OnFailback        string        // keep or close
	QueueTimeout      time.Duration // 0 = no queue
	HoldTimeout       time.Duration // how long sessions wait while no server can serve; 0 = they do not
	MaxHeld           int           // sessions that wait for that; 0 = no limit
	ReleaseRate       int           // of those per second, once a server can serve; 0 = all at once
	Greeting          string        // protocol of refusals in a server's first bytes: mysql or redis; "" = not read
	GreetingTimeout   time.Duration // 0 = ConnectTimeout
	ResolveInterval   time.Duration // > 0

	CloseRate           int           // sessions per second; 0 = no limit
	CloseQuiet          time.Duration // 0 = any moment after a byte from the server
	CloseDeadline       time.Duration // > 0
	MaxSessionAge       time.Duration // 0 = none
	MaxSessionAgeJitter int           // percent
	Rebalance           string        // off or auto

	Defaults Server  // values that servers inherit; without name and address
	Levels   []Level // at least one
	Checks   []Check
	Topology *Topology // nil = none
	Fleet    ClusterFleet
}

// Level is a priority tier of a cluster.
type Level struct {
	Name    string // "" = unnamed
	MinUp   int    // used while at least this many of its servers are eligible; ≥ 1
	Try     int    // failed attempts in the level before the next level is tried; 0 = every server once
	Servers []Server

	Discover *Discover // where more servers come from; nil = nowhere
}

// Server is an address that serves. Values inherited from its cluster are filled in.
type Server struct {
	Name        string // default: the address as written
	Address     Address
	Weight      int // 0 to 256
	MaxFails    int // 0 = no passive health checks
	FailTimeout time.Duration
	State       string   // ready, drain or maint
	MaxSessions int      // 0 = no limit
	Source      Source   // of sessions and checks; zero = the kernel chooses
	Interface   string   // that connections and checks leave through; "" = the kernel chooses
	SendProxy   string   // version of the PROXY header that connections start with, v1 or v2; "" = no header
	ProxyTLVs   TLVTypes // of the client's header, passed on with send_proxy v2
}

// Check is a check that is run against the servers of a cluster.
type Check struct {
	Type         string // tcp http redis mysql pgsql udp exec agent agent_http
	ID           string // unique in the cluster; default: the type
	Interval     time.Duration
	FastInterval time.Duration // while a verdict is changing; default Interval
	DownInterval time.Duration // while down; default Interval
	Timeout      time.Duration // ≤ Interval
	Rise, Fall   int           // ≥ 1; not for agents
	Initial      string        // up or down: a new server before its first result; not for agents
	Port         int           // 0 = the server's port
	Address      string        // "" = the server's host
	Servers      string        // all, up, down or list
	ServerNames  []string      // if Servers is list

	// Options that only some types of checks have.

	Steps   []Step        // tcp, udp: exchanges, in order
	Quiet   bool          // tcp: close the connection before the server's program sees it
	Command []string      // exec: program and arguments
	Send    []byte        // agent: what to send first; may be empty
	TTL     time.Duration // agent, agent_http: how long advice is valid; 0 = forever

	Method  string   // http, agent_http: never empty
	Path    string   // starts with /
	Host    string   // "" = the address that is checked
	Headers []Header // in file order
	Body    []byte
	OKCodes string // status codes that pass, such as "200,40x"; never empty
	Expect  []byte // http: text that the body must contain; nil = the body is not read

	User       string // redis, mysql, pgsql
	Password   Secret
	Role       string        // "", primary or replica
	MaxLag     time.Duration // 0 = no limit
	AllowStale bool          // redis: accept a replica without a link to its primary
	Database   string        // mysql, pgsql; "" = none, pgsql: the user's name
	Galera     bool          // mysql
	AllowDonor bool          // mysql, with Galera
	Query      string        // mysql, pgsql

	ServerKeyFile  string // mysql: PEM; the password may be sent encrypted with this key. "" = none
	AllowPublicKey bool   // mysql: it may be sent encrypted with the key that the server sends

	TLS TLS // all types but udp and exec
}

// TLS configures TLS for a check.
type TLS struct {
	On         bool
	ServerName string // "" = the host's name
	CAFile     string // PEM; "" = the system's certificates
	CertFile   string // PEM: client certificate and its chain; "" = none
	KeyFile    string // PEM: its key
	SkipVerify bool
}

// Step is one exchange of a check: Send is written, then the reply is read until it matches Expect or Regex. Empty
// parts are skipped.
type Step struct {
	Send   []byte // exact bytes; in the file, text or "0x…" hex
	Expect []byte // the reply must contain it
	Regex  string // the reply must match it; it compiles
}
