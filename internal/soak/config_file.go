package soak

// The configuration as a file.

import (
	"fmt"
	"strings"
)

// String returns the configuration file.
func (w *randomConfig) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[runtime]\nloops = 2\ndrain_timeout = %q\nmax_sessions = %d\nstop_delay = %q\n[admin]\nlisten = %q\n", drainTimeout, w.maxSessions, w.stopDelay, w.admin)
	fmt.Fprintf(&b, "[log]\nformat = \"json\"\nlevel = \"info\"\nsessions = \"all\"\n")
	for i := range w.listeners {
		if w.listeners[i].present {
			w.writeListener(&b, &w.listeners[i])
		}
	}
	for i := range w.clusters {
		w.writeCluster(&b, &w.clusters[i])
	}
	for _, l := range w.flows {
		if l.present {
			fmt.Fprintf(&b, "[[listener]]\nname = %q\naddress = %q\nprotocol = \"udp\"\ncluster = %q\nflow_timeout = \"4s\"\n", l.name, l.address, flowsName)
			fmt.Fprintf(&b, "responses = %d\nrequests = %d\nmax_flow_age = %q\nmax_flows = %d\nmax_flows_per_source = %d\n", l.responses, l.requests, l.maxAge, l.maxFlows, l.perSource)
		}
	}
	fmt.Fprintf(&b, "[cluster.%s]\nmax_fails = 2\nfail_timeout = \"1s\"\n[[cluster.%[1]s.level]]\nservers = [", flowsName)
	for _, s := range w.echoes {
		fmt.Fprintf(&b, "{ name = %q, address = %q }, ", s.name, s.address)
	}
	b.WriteString("]\n")
	return b.String()
}

func (w *randomConfig) writeListener(b *strings.Builder, l *listener) {
	fmt.Fprintf(b, "[[listener]]\nname = %q\naddress = %q\ncluster = %q\nhalf_close_timeout = \"120s\"\nclient_idle_timeout = %q\n", l.name, l.address, w.clusters[l.cluster].name, maxClientPause+idleSlack)
	if l.acceptProxy {
		b.WriteString("accept_proxy = true\nproxy_timeout = \"2s\"\n")
	}
	if l.acceptProxy && !l.onUnix() {
		b.WriteString("trusted_proxies = [\"127.0.0.0/8\"]\n")
	}
	if l.onUnix() {
		fmt.Fprintf(b, "unix_mode = \"%04o\"\n", l.mode)
	}
	full := "reject"
	if l.wait {
		full = "wait"
	}
	fmt.Fprintf(b, "max_sessions = %d\nmax_sessions_per_source = %d\nmax_session_rate = %d\nmax_session_rate_per_source = %d\nsource_prefix_v6 = %d\nwhen_full = %q\n",
		l.maxSessions, l.perSource, l.rate, l.ratePerSource, l.prefix, full)
	fmt.Fprintf(b, "max_rate_up = %d\nmax_rate_down = %d\n", l.rateUp, l.rateDown)
	if !l.onUnix() {
		fmt.Fprintf(b, "fast_open = %d\n", l.fastOpen)
	}
	for i := range l.routes {
		w.writeRoute(b, &l.routes[i])
	}
}

func (w *randomConfig) writeCluster(b *strings.Builder, c *cluster) {
	choose := func(yes bool, a, b string) string {
		if yes {
			return a
		}
		return b
	}
	fmt.Fprintf(b, "[cluster.%s]\nbalance = %q\nmax_fails = 2\nfail_timeout = \"1s\"\nmax_sessions = %d\nqueue_timeout = %q\non_down = %q\nsend_proxy = %q\nprotected = %v\n",
		c.name, c.balance, c.maxSessions, choose(c.queue, "500ms", "0s"), choose(c.closeOnDown, "close", "keep"), c.sendProxy, !c.unprotected)
	fmt.Fprintf(b, "hold_timeout = %q\nmax_held = %d\nrelease_rate = %d\n", c.hold.timeout, c.hold.most, c.hold.rate)
	fmt.Fprintf(b, "close_rate = %d\nclose_quiet = %q\nclose_deadline = %q\nmax_session_age = %q\non_failback = %q\nrebalance = %q\n",
		c.closing.rate, c.closing.quiet, closeDeadline, c.closing.age, choose(c.closing.failback, "close", "keep"), choose(c.rebalances(), "auto", "off"))
	if c.greeting != "" {
		fmt.Fprintf(b, "greeting = %q\n", c.greeting)
	}
	if c.discover != "" {
		fmt.Fprintf(b, "[[cluster.%s.level]]\n[cluster.%[1]s.level.discover]\n%s", c.name, c.discover)
	}
	for _, level := range c.levels {
		if c.discover != "" {
			break
		}
		fmt.Fprintf(b, "[[cluster.%s.level]]\nservers = [", c.name)
		for _, m := range level {
			fmt.Fprintf(b, "{ name = %q, address = %q, weight = %d }, ", w.servers[m.server].name, w.servers[m.server].address, m.weight)
		}
		b.WriteString("]\n")
	}
	if c.interval > 0 {
		fmt.Fprintf(b, "[[cluster.%s.check]]\ntype = \"tcp\"\nrise = 1\nfall = 2\ninterval = \"%dms\"\ntimeout = \"%[2]dms\"\n", c.name, c.interval)
	}
}
