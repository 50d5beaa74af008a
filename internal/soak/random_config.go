package soak

// The configuration of weir: a value that is changed at random and written as a file.

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
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

// String returns the configuration file.
func (w *randomConfig) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[runtime]\nloops = 2\ndrain_timeout = %q\nmax_sessions = %d\n[admin]\nlisten = %q\n", drainTimeout, w.maxSessions, w.admin)
	fmt.Fprintf(&b, "[log]\nformat = \"json\"\nlevel = \"info\"\nsessions = \"all\"\n")
	for _, l := range w.listeners {
		if !l.present {
			continue
		}
		fmt.Fprintf(&b, "[[listener]]\nname = %q\naddress = %q\ncluster = %q\nhalf_close_timeout = \"120s\"\nclient_idle_timeout = %q\n", l.name, l.address, w.clusters[l.cluster].name, maxClientPause+2*time.Second)
		if l.acceptProxy {
			fmt.Fprintf(&b, "accept_proxy = true\ntrusted_proxies = [\"127.0.0.0/8\"]\nproxy_timeout = \"2s\"\n")
		}
		fmt.Fprintf(&b, "max_sessions = %d\nmax_sessions_per_source = %d\nmax_session_rate = %d\n", l.maxSessions, l.perSource, l.rate)
	}
	for _, c := range w.clusters {
		onDown, queue := "keep", "0s"
		if c.closeOnDown {
			onDown = "close"
		}
		if c.queue {
			queue = "500ms"
		}
		fmt.Fprintf(&b, "[cluster.%s]\nbalance = %q\nmax_fails = 2\nfail_timeout = \"1s\"\nmax_sessions = %d\nqueue_timeout = %q\non_down = %q\nsend_proxy = %q\n",
			c.name, c.balance, c.maxSessions, queue, onDown, c.sendProxy)
		for _, level := range c.levels {
			fmt.Fprintf(&b, "[[cluster.%s.level]]\nservers = [", c.name)
			for _, m := range level {
				fmt.Fprintf(&b, "{ name = %q, address = %q, weight = %d }, ", w.servers[m.server].name, w.servers[m.server].address, m.weight)
			}
			b.WriteString("]\n")
		}
		if c.interval > 0 {
			fmt.Fprintf(&b, "[[cluster.%s.check]]\ntype = \"tcp\"\nrise = 1\nfall = 2\ninterval = \"%dms\"\ntimeout = \"%[2]dms\"\n", c.name, c.interval)
		}
	}
	fmt.Fprintf(&b, "[[listener]]\nname = %q\naddress = %q\nprotocol = \"udp\"\ncluster = %[1]q\nflow_timeout = \"1s\"\n", flowsName, w.flows)
	fmt.Fprintf(&b, "[cluster.%s]\nmax_fails = 2\nfail_timeout = \"1s\"\n[[cluster.%[1]s.level]]\nservers = [", flowsName)
	for _, s := range w.echoes {
		fmt.Fprintf(&b, "{ name = %q, address = %q }, ", s.name, s.address)
	}
	b.WriteString("]\n")
	return b.String()
}

// absent returns the names of servers and listeners that are not in the configuration.
func (w *randomConfig) absent() map[string]bool {
	gone := map[string]bool{}
	for _, s := range w.servers {
		gone[s.name] = true
	}
	for _, c := range w.clusters {
		for _, level := range c.levels {
			for _, m := range level {
				delete(gone, w.servers[m.server].name)
			}
		}
	}
	for _, l := range w.listeners {
		if !l.present {
			gone[l.name] = true
		}
	}
	return gone
}

// limited returns the names of listeners and clusters with a limit.
func (w *randomConfig) limited() map[string]bool {
	all := map[string]bool{}
	for _, c := range w.clusters {
		if c.maxSessions > 0 {
			all[c.name] = true
		}
	}
	if w.maxSessions > 0 {
		all[flowsName] = true
	}
	for _, l := range w.listeners {
		if l.present && (w.maxSessions > 0 || l.maxSessions > 0 || l.perSource > 0 || l.rate > 0) {
			all[l.name] = true
		}
	}
	return all
}

// mutate makes one change and returns what it changed.
func (w *randomConfig) mutate(r *rand.Rand) string {
	c := &w.clusters[r.IntN(len(w.clusters))]
	switch r.IntN(13) {
	case 0, 1:
		level := c.levels[r.IntN(2)]
		if len(level) == 0 {
			return "nothing"
		}
		m := &level[r.IntN(len(level))]
		m.weight = r.IntN(10)
		return "weigh"
	case 2:
		level := r.IntN(2)
		if len(c.levels[0])+len(c.levels[1]) < 3 || len(c.levels[level]) == 0 {
			return "nothing"
		}
		i := r.IntN(len(c.levels[level]))
		c.levels[level] = slices.Delete(c.levels[level], i, i+1)
		return "remove a server"
	case 3, 4:
		gone := w.absent()
		for i, s := range w.servers {
			if gone[s.name] && w.clusters[s.cluster].name == c.name {
				level := r.IntN(2)
				c.levels[level] = slices.Insert(c.levels[level], r.IntN(len(c.levels[level])+1), member{i, 1 + r.IntN(5)})
				return "add a server"
			}
		}
		return "nothing"
	case 5:
		from := r.IntN(2)
		if len(c.levels[from]) == 0 {
			return "nothing"
		}
		i := r.IntN(len(c.levels[from]))
		m := c.levels[from][i]
		c.levels[from] = slices.Delete(c.levels[from], i, i+1)
		c.levels[1-from] = append(c.levels[1-from], m)
		return "move a server"
	case 6:
		if c.maxSessions, c.queue = 0, false; r.IntN(2) == 0 {
			c.maxSessions, c.queue = 1+r.IntN(6), r.IntN(2) == 0
		}
		return "limit a cluster"
	case 7:
		l := &w.listeners[r.IntN(len(w.listeners))]
		if l.maxSessions, l.perSource, l.rate = 0, 0, 0; r.IntN(2) == 0 {
			switch r.IntN(3) {
			case 0:
				l.maxSessions = 1 + r.IntN(8)
			case 1:
				l.perSource = 1 + r.IntN(8)
			case 2:
				l.rate = 1 + r.IntN(40)
			}
		}
		return "limit a listener"
	case 8:
		l := &w.listeners[permanentListeners+r.IntN(len(w.listeners)-permanentListeners)]
		l.present = !l.present
		return "add or remove a listener"
	case 9:
		c.sendProxy = []string{"", "v1", "v2"}[r.IntN(3)]
		return "PROXY headers"
	case 10:
		if w.maxSessions = 0; r.IntN(2) == 0 {
			w.maxSessions = 1 + r.IntN(20)
		}
		return "limit the process"
	case 11:
		c.balance = methods[r.IntN(len(methods))]
		return "balance"
	default:
		c.closeOnDown = r.IntN(2) == 0
		c.interval = []int{0, 100, 200, 500}[r.IntN(4)]
		return "checks"
	}
}

// names returns the keys of a set, sorted.
func names(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
