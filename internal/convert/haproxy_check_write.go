package convert

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// writeChecks writes a check for each group of servers with the same options, and one for each group of agents.
func (p *proxy) writeChecks(cluster string) {
	var groups, agents groupList
	all := 0
	for _, s := range p.servers {
		all++
		if s.params.has("check") {
			groups.add(p.checkOf(s), s)
		}
		if s.params.has("agent-check") {
			agents.add(p.agentOf(s), s)
		}
	}
	groups.write(p.h, cluster, "check", all)
	agents.write(p.h, cluster, "agent", all)
}

// omitPortlessChecks leaves out checks of servers at the client's port that have no port of their own.
func (p *proxy) omitPortlessChecks() {
	for _, s := range p.servers {
		if s.params.has("check") && strings.HasSuffix(s.address, clientPort) && p.checkOf(s).values["port"] == "" {
			p.warn(s.line, "option check: a server without a port requires port")
			delete(s.params.values, "check")
		}
	}
}

// checkOf returns the keys of the check of a server.
func (p *proxy) checkOf(s *server) *table {
	t, o := &table{}, &s.params
	t.set("type", quote(cmp.Or(p.check.kind, "tcp")))
	interval := p.intervals(t, o, "inter")
	for _, k := range [][2]string{{"fastinter", "fast_interval"}, {"downinter", "down_interval"}} {
		if d, ok := period(o.values[k[0]], time.Millisecond); ok && d > 0 {
			t.set(k[1], writeDuration(d))
		}
	}
	timeout := interval
	if d := p.timeouts["check"]; d > 0 {
		timeout = min(d, interval)
	}
	t.set("timeout", writeDuration(timeout))
	for _, k := range []string{"rise", "fall", "port"} {
		if v := o.values[k]; v != "" {
			t.set(k, number(v))
		}
	}
	t.setText("address", o.values["addr"])
	if state := o.values["init-state"]; state == "down" || state == "fully-down" {
		t.set("initial", quote("down"))
	}
	if o.has("check-ssl") {
		t.set("tls", "true")
		t.setText("tls_server_name", o.values["check-sni"])
		t.setText("tls_ca_file", o.values["ca-file"])
		if o.values["verify"] == "none" {
			t.set("tls_skip_verify", "true")
		}
	}
	p.check.writeTo(t)
	return t
}

// intervals sets the interval of a check and returns it.
func (p *proxy) intervals(t *table, o *params, name string) time.Duration {
	interval := 2 * time.Second
	if d, ok := period(o.values[name], time.Millisecond); ok && d > 0 {
		interval = d
	}
	t.set("interval", writeDuration(interval))
	return max(interval, minDuration)
}

// writeTo adds the keys of the protocol.
func (c *checkKind) writeTo(t *table) {
	copyKeys(t, &c.table)
	if c.kind == "exec" {
		t.set("command", quoteList([]string{c.command}))
	}
	if c.kind == "http" && c.values["ok_codes"] == "" {
		t.set("ok_codes", quote(okCodes))
	}
	if c.headers != nil {
		t.set("headers", quoteList(c.headers))
	}
	if len(c.steps) == 1 {
		s := c.steps[0]
		t.setText("send", s.send)
		t.setText("expect", s.expect)
		t.setText("expect_regex", s.regex)
		return
	}
	var steps []string
	for _, s := range c.steps {
		var keys []string
		for _, k := range [][2]string{{"send", s.send}, {"expect", s.expect}, {"expect_regex", s.regex}} {
			if k[1] != "" {
				keys = append(keys, k[0]+" = "+quote(k[1]))
			}
		}
		steps = append(steps, "  { "+strings.Join(keys, ", ")+" },\n")
	}
	if steps != nil {
		t.set("steps", "[\n"+strings.Join(steps, "")+"]")
	}
}

// agentOf returns the keys of the agent check of a server.
func (p *proxy) agentOf(s *server) *table {
	t, o := &table{}, &s.params
	t.set("type", quote("agent"))
	interval := p.intervals(t, o, "agent-inter")
	if d := p.timeouts["check"]; d > 0 && d < interval {
		t.set("timeout", writeDuration(d))
	}
	t.set("port", number(cmp.Or(o.values["agent-port"], o.values["port"])))
	t.setText("address", o.values["agent-addr"])
	t.setText("send", o.values["agent-send"])
	return t
}

// groupList groups servers by the check that they need.
type groupList []group

type group struct {
	check   *table
	servers []string
}

func (g *groupList) add(check *table, s *server) {
	for i := range *g {
		if sameTable((*g)[i].check, check) {
			(*g)[i].servers = append((*g)[i].servers, s.name)
			return
		}
	}
	*g = append(*g, group{check, []string{s.name}})
}

// write writes the checks. A check of fewer than all servers lists them.
func (g groupList) write(h *haproxy, cluster, id string, all int) {
	for i, c := range g {
		t := h.add(clusterHeader("[[cluster.%s.check]]", cluster))
		copyKeys(t, c.check)
		if len(g) > 1 {
			t.set("id", quote(fmt.Sprintf("%s%d", id, i+1)))
		}
		if len(c.servers) < all {
			t.set("servers", quoteList(c.servers))
		}
	}
}
