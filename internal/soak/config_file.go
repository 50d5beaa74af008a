package soak

// The configuration as a file, and what it explains.

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

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

// names returns the keys of a set, sorted.
func names(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
