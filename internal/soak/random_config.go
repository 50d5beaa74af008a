package soak

// The configuration of weir: a value that is changed at random and written as a file.

import (
	"fmt"
	"slices"
	"time"
)

// randomConfig is a configuration. Everything that permanent does not name is added and removed.
type randomConfig struct {
	admin       string
	maxSessions int           // max_sessions of the process
	stopDelay   time.Duration // stop_delay
	flows       []flowListener
	echoes      []serverAddr // servers of the UDP listeners
	servers     []serverAddr // all servers, in the configuration or not
	clusters    [clusterCount]cluster
	listeners   []listener
}

// The clusters by number. The servers of two of them speak a protocol in which they may refuse a session (greeting), and
// providers list those of the last two (discover).
const (
	redisCluster = 2
	mysqlCluster = 3
	fileCluster  = 4
	httpCluster  = 5
	clusterCount = 6
)

// serverAddr is a server's address and the only cluster it may be in.
type serverAddr struct {
	name, address string
	cluster       int
}

// found reports whether a provider lists the server.
func (a *serverAddr) found() bool { return a.cluster >= fileCluster }

type cluster struct {
	name        string
	balance     string
	levels      [2][]member
	maxSessions int // max_sessions; 0 = no limit
	queue       bool
	closeOnDown bool   // on_down
	unprotected bool   // not protected
	interval    int    // of the check, in milliseconds; 0 = no check
	sendProxy   string // send_proxy
	greeting    string
	discover    string // keys of the provider of the servers; "" = none
	hold        hold
	closing     closing
}

// rebalances reports whether rebalance is "auto". Methods without shares by weight cannot have it.
func (c *cluster) rebalances() bool {
	return c.closing.rebalance && c.balance != "hash" && c.balance != "maglev" && c.balance != "first"
}

// hold is how new sessions wait while no server can serve.
type hold struct {
	timeout time.Duration // hold_timeout; 0 = they do not wait
	most    int           // max_held
	rate    int           // release_rate
}

// closing is how and why the sessions of a cluster are closed gently.
type closing struct {
	rate      int           // close_rate
	quiet     time.Duration // close_quiet
	age       time.Duration // max_session_age
	failback  bool          // on_failback
	rebalance bool
}

type member struct {
	server int
	weight int
}

type listener struct {
	name, address string
	cluster       int
	present       bool
	acceptProxy   bool // accept_proxy
	maxSessions   int  // max_sessions
	perSource     int
	rate          int
	ratePerSource int
	prefix        int  // source_prefix_v6
	wait          bool // when_full
	routes        []route
	mode          int // unix_mode
	rateUp        int // max_rate_up
	rateDown      int // max_rate_down
	fastOpen      int // fast_open
}

// onUnix reports whether the listener is a unix socket.
func (l *listener) onUnix() bool { return isUnix(l.address) }

// flowListener is a UDP listener of the cluster of the echo servers.
type flowListener struct {
	name, address string
	present       bool
	responses     int
	requests      int
	maxAge        time.Duration // max_flow_age
	maxFlows      int
	perSource     int // max_flows_per_source
}

// drainTimeout is drain_timeout of the configuration.
const drainTimeout = 2 * time.Second

// flowsName is the name of the permanent UDP listener and of the cluster of the echo servers.
const flowsName = "u"

// permanentListeners is how many listeners are always present; so are those with a greeting or routes.
const permanentListeners = 2

// permanent returns the names of the listeners that are always present.
func (w *randomConfig) permanent() []string {
	all := []string{flowsName}
	for i, l := range w.listeners {
		if i < permanentListeners || w.fixed(&l) {
			all = append(all, l.name)
		}
	}
	return all
}

// fixed reports whether a listener is always present because of what it does.
func (w *randomConfig) fixed(l *listener) bool {
	return w.clusters[l.cluster].greeting != "" || len(l.routes) > 0
}

// The listeners by number: two that are always present, two that come and go, and these.
const (
	proxyListener  = 4 // accepts PROXY headers
	unixListener   = 5 // the same at a unix socket
	redisListener  = 6
	mysqlListener  = 7
	sourceListener = 8 // has routes by source
	nameListener   = 9 // has routes by sni
	listenerCount  = 10
)

var methods = []string{"wrr", "rr", "least_sessions", "random", "first", "least_time", "hash", "maglev"}

// newRandomConfig returns the configuration at the start and at the end: everything is present and nothing is limited.
func newRandomConfig(admin string, servers []serverAddr, addresses []string) *randomConfig {
	w := &randomConfig{admin: admin, servers: servers, stopDelay: firstStopDelay}
	for i := range w.clusters {
		w.clusters[i] = cluster{name: clusterName(i), balance: methods[i], interval: 200}
	}
	w.clusters[redisCluster].greeting, w.clusters[mysqlCluster].greeting = "redis", "mysql"
	for i, s := range servers {
		if s.found() {
			continue
		}
		c := &w.clusters[s.cluster]
		level := 0
		if i%4 == 3 {
			level = 1
		}
		c.levels[level] = append(c.levels[level], member{i, 1})
	}
	for i, at := range addresses {
		l := listener{name: fmt.Sprintf("l%d", i), address: at, cluster: i % 2, present: i < permanentListeners || i >= proxyListener, prefix: 64, mode: 0o666}
		switch i {
		case proxyListener, unixListener:
			l.acceptProxy = true
		case redisListener:
			l.cluster = redisCluster
		case mysqlListener:
			l.cluster = mysqlCluster
		case sourceListener:
			l.routes = sourceRoutes()
		case nameListener:
			l.routes = nameRoutes()
		}
		w.listeners = append(w.listeners, l)
	}
	return w
}

// firstStopDelay is stop_delay at the start and at the end.
const firstStopDelay = 3 * time.Second

func (w *randomConfig) clone() *randomConfig {
	c := *w
	c.listeners, c.flows = slices.Clone(w.listeners), slices.Clone(w.flows)
	for i := range c.listeners {
		c.listeners[i].routes = slices.Clone(w.listeners[i].routes)
	}
	for i := range c.clusters {
		for j := range c.clusters[i].levels {
			c.clusters[i].levels[j] = slices.Clone(w.clusters[i].levels[j])
		}
	}
	return &c
}
