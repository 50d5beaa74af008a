package convert

import (
	"fmt"
	"strings"
	"time"

	"weir/internal/nginxconf"
)

// clusterFor returns the name of the cluster for what proxy_pass names: an upstream, or an address. The settings of the
// server block are the cluster's, so servers with different settings get clusters of their own. "" = there is none.
func (s *nginxServer) clusterFor(target string, udp bool) string {
	n := s.n
	settings := s.cluster
	settings.values = map[string]string{}
	for k, v := range s.cluster.values {
		settings.values[k] = v
	}
	if !udp {
		settings.keys = append([]string(nil), s.cluster.keys...)
		settings.set("server_idle_timeout", writeDuration(s.idle))
	}
	key := fmt.Sprint(target, settings.keys, settings.values, udp && len(s.checks) > 0)
	if name, known := n.clusterOf[key]; known {
		return name
	}
	upstream := n.upstreams[target]
	if upstream == nil {
		address, reason := serverAddress(target, false)
		if reason != "" {
			return ""
		}
		upstream = &nginxconf.Directive{Name: "upstream", Block: []*nginxconf.Directive{{Name: "server", Args: []string{address}, Line: s.pass.Line}}}
	}
	name, _ := n.clusters.make(target)
	n.clusterOf[key] = name
	n.writeUpstream(name, upstream, &settings, s.checks, udp)
	return name
}

// writeUpstream writes a cluster.
func (n *nginx) writeUpstream(name string, upstream *nginxconf.Directive, settings *table, checks []*nginxconf.Directive, udp bool) {
	t := n.add(clusterHeader("[cluster.%s]", name))
	copyKeys(t, settings)
	t.set("max_fails", "1")
	t.set("fail_timeout", writeDuration(10*time.Second))
	var first, backups []string
	for _, d := range upstream.Block {
		switch d.Name {
		case "server":
			text, backup, reason := n.upstreamServer(t, d)
			switch {
			case reason != "":
				n.warnHere(&t.notes, d, reason)
			case backup:
				backups = append(backups, text)
			default:
				first = append(first, text)
			}
		case "least_conn":
			t.set("balance", quote("least_sessions"))
		case "least_time":
			t.set("balance", quote("least_time"))
		case "random":
			t.set("balance", quote("random"))
		case "hash":
			n.hash(t, d)
		default:
			n.other(&t.notes, d)
		}
	}
	n.add(clusterHeader("[[cluster.%s.level]]", name)).set("servers", quoteList(first))
	if backups != nil {
		n.add(clusterHeader("[[cluster.%s.level]]", name)).set("servers", quoteList(backups))
	}
	for _, d := range checks {
		n.healthCheck(n.add(clusterHeader("[[cluster.%s.check]]", name)), d, udp)
	}
}

// hash translates the hash method.
func (n *nginx) hash(t *table, d *nginxconf.Directive) {
	key, known := map[string]string{
		"$remote_addr": "client_ip", "$binary_remote_addr": "client_ip", "$remote_addr$remote_port": "client_ip_port", "$remote_addr:$remote_port": "client_ip_port",
		"$server_addr": "local_address", "$ssl_preread_server_name": "sni", "$proxy_protocol_addr": "client_ip",
	}[strings.NewReplacer("{", "", "}", "").Replace(d.Arg(0))]
	if !known {
		n.warnHere(&t.notes, d, "this key has no counterpart; the client's address is used")
		key = "client_ip"
	}
	t.set("balance", quote("hash"))
	t.set("hash_key", quote(key))
}

// upstreamServer translates a server line of an upstream.
func (n *nginx) upstreamServer(cluster *table, d *nginxconf.Directive) (text string, backup bool, reason string) {
	a := d.Arg(0)
	if !strings.HasPrefix(a, "unix:") {
		var address string
		if address, reason = serverAddress(a, false); reason != "" {
			return "", false, "no address with a port"
		}
		a = address
	}
	text = a
	for _, o := range d.Args[min(1, len(d.Args)):] {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "weight", "max_fails":
			text += " " + key + "=" + number(value)
		case "fail_timeout":
			if t, ok := period(value, time.Second); ok && t > 0 {
				text += " fail_timeout=" + strings.Trim(writeDuration(t), `"`)
			}
		case "max_conns":
			if value != "0" {
				text += " max_sessions=" + number(value)
			}
		case "slow_start":
			if t, ok := period(value, time.Second); ok {
				cluster.set("slow_start", writeDuration(t))
			}
		case "down":
			text += " state=maint"
		case "backup":
			backup = true
		case "resolve":
		default:
			n.warnHere(&cluster.notes, d, "option "+key+" has no counterpart")
		}
	}
	return text, backup, ""
}

// healthCheck translates a health_check line.
func (n *nginx) healthCheck(t *table, d *nginxconf.Directive, udp bool) {
	kind := "tcp"
	interval, timeout := 5*time.Second, 5*time.Second
	t.set("type", quote(kind))
	t.set("rise", "1")
	t.set("fall", "1")
	for _, o := range d.Args {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "interval":
			if v, ok := period(value, time.Second); ok && v > 0 {
				interval = v
			}
		case "passes":
			t.set("rise", number(value))
		case "fails":
			t.set("fall", number(value))
		case "port":
			t.set("port", number(value))
		case "udp":
			kind = "udp"
		case "match":
			n.match(t, d, value)
		case "jitter", "mandatory", "persistent":
		default:
			n.warnHere(&t.notes, d, "option "+key+" has no counterpart")
		}
	}
	if udp && kind != "udp" {
		n.warnHere(&t.notes, d, "the check connects by TCP")
	}
	t.set("type", quote(kind))
	t.set("interval", writeDuration(interval))
	t.set("timeout", writeDuration(min(timeout, interval)))
}

// match translates the match block of a health check.
func (n *nginx) match(t *table, d *nginxconf.Directive, name string) {
	block := n.matches[name]
	if block == nil {
		n.warnHere(&t.notes, d, "there is no match "+name)
		return
	}
	for _, m := range block.Block {
		switch {
		case m.Name == "send":
			t.set("send", quote(hexText(m.Arg(0))))
		case m.Name == "expect" && m.Arg(0) == "~" || m.Name == "expect" && m.Arg(0) == "~*":
			t.set("expect_regex", quote(map[string]string{"~": "", "~*": "(?i)"}[m.Arg(0)]+m.Arg(1)))
		case m.Name == "expect":
			t.set("expect", quote(hexText(m.Arg(0))))
		default:
			n.warnHere(&t.notes, m, "no counterpart")
		}
	}
}

// hexText translates nginx's \xHH to weir's "0x…" if all bytes are written so.
func hexText(s string) string {
	digits := strings.ReplaceAll(s, `\x`, "")
	if digits != s && len(digits)*2 == len(s) {
		return bytesLiteral(digits)
	}
	return s
}

// zoneName returns the name of the zone of a limit_conn_zone line.
func zoneName(d *nginxconf.Directive) string {
	zone, _, _ := strings.Cut(strings.TrimPrefix(d.Arg(1), "zone="), ":")
	return zone
}
