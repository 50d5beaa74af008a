package soak

// The configuration of weir: a value that is changed at random and written as a file.

import (
	"fmt"
	"slices"
	"time"
)

// randomConfig is a configuration. Two clusters and their two listeners are always present. Everything else is added
// and removed.
type randomConfig struct {
	admin       string
	maxSessions int          // max_sessions of the process
	flows       string       // address of the UDP listener, which never changes
	echoes      []serverAddr // its servers
	servers     []serverAddr // all servers, in the configuration or not
	clusters    [2]cluster
	listeners   []listener
}

// serverAddr is a server's address and the only cluster it may be in.
type serverAddr struct {
	name, address string
	cluster       int
}

type cluster struct {
	name        string
	balance     string
	levels      [2][]member
	maxSessions int // max_sessions; 0 = no limit
	queue       bool
	closeOnDown bool   // on_down
	interval    int    // of the check, in milliseconds; 0 = no check
	sendProxy   string // send_proxy
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
}

// drainTimeout is drain_timeout of the configuration.
const drainTimeout = 2 * time.Second

// flowsName is the name of the UDP listener and its cluster.
const flowsName = "u"

const permanentListeners = 2 // this many listeners are always present; the last of all accepts PROXY headers

var methods = []string{"wrr", "rr", "least_sessions", "random", "first", "least_time", "hash", "maglev"}

// newRandomConfig returns the configuration at the start and at the end: everything is present and nothing is limited.
func newRandomConfig(admin string, servers []serverAddr, addresses []string) *randomConfig {
	w := &randomConfig{admin: admin, servers: servers}
	for i := range w.clusters {
		w.clusters[i] = cluster{name: fmt.Sprintf("c%d", i), balance: methods[i], interval: 200}
	}
	for i, s := range servers {
		c := &w.clusters[s.cluster]
		level := 0
		if i%4 == 3 {
			level = 1
		}
		c.levels[level] = append(c.levels[level], member{i, 1})
	}
	for i, at := range addresses {
		w.listeners = append(w.listeners, listener{
			name: fmt.Sprintf("l%d", i), address: at, cluster: i % 2, present: i < permanentListeners || i == len(addresses)-1, acceptProxy: i == len(addresses)-1,
		})
	}
	return w
}

func (w *randomConfig) clone() *randomConfig {
	c := *w
	c.listeners = slices.Clone(w.listeners)
	for i := range c.clusters {
		for j := range c.clusters[i].levels {
			c.clusters[i].levels[j] = slices.Clone(w.clusters[i].levels[j])
		}
	}
	return &c
}
