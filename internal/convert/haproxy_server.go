package convert

import (
	"strings"
	"time"
)

// server is a server line.
type server struct {
	line    *line
	address string
	name    string
	params  params
	found   *table // of a server-template: the discovery of its level
}

// params are the options of a server line and of the default-server lines before it.
type params struct {
	values map[string]string // by name; options without a value have ""
}

func (o *params) has(name string) bool { _, ok := o.values[name]; return ok }

// serverFlags are the options of server lines without a value.
var serverFlags = map[string]bool{
	"agent-check": true, "backup": true, "check": true, "check-send-proxy": true, "check-ssl": true, "check-via-socks4": true, "disabled": true,
	"enabled": true, "non-stick": true, "send-proxy": true, "send-proxy-v2": true, "send-proxy-v2-ssl": true, "send-proxy-v2-ssl-cn": true,
	"ssl": true, "stick": true, "tfo": true, "allow-0rtt": true, "ssl-reuse": true, "tls-tickets": true, "verifyhost-none": true,
	"force-sslv3": true, "force-tlsv10": true, "force-tlsv11": true, "force-tlsv12": true, "force-tlsv13": true,
}

// lostOptions says why options of server lines have no counterpart. The others without one are for HTTP or TLS, or change
// nothing that a client sees.
var lostOptions = map[string]string{
	"ssl": "weir passes TLS through and does not start it", "track": "give both clusters the same check", "minconn": "max_sessions is a fixed limit",
	"maxqueue": "queue_timeout bounds the queue", "redir": "HTTP only", "namespace": "weir runs in one network namespace",
	"socks4": "no counterpart", "check-via-socks4": "no counterpart", "usesrc": "no counterpart", "send-proxy-v2-ssl": "the header has no TLS fields of its own",
	"send-proxy-v2-ssl-cn": "the header has no TLS fields of its own", "set-proxy-v2-tlv-fmt": "see proxy_tlvs", "proxy-v2-options": "see proxy_tlvs",
	"proto": "HTTP only",
}

// readParams reads options, after those of default-server.
func readParams(words []string) params {
	o := params{map[string]string{}}
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case serverFlags[w]:
			o.values[w] = ""
		case strings.HasPrefix(w, "no-") && serverFlags[w[3:]]:
			delete(o.values, w[3:])
		case strings.HasPrefix(w, "no-"):
			o.values[w] = ""
		case w == "source":
			from := i + 1
			for i+1 < len(words) && (i+1 == from || words[i+1] == "usesrc" || words[i] == "usesrc" || words[i+1] == "interface" || words[i] == "interface") {
				i++
			}
			o.values[w] = sourceOf(words[from : i+1])
		case i+1 < len(words):
			o.values[w] = words[i+1]
			i++
		default:
			o.values[w] = ""
		}
	}
	if o.has("enabled") {
		delete(o.values, "disabled")
	}
	return o
}

// server translates a server line.
func (p *proxy) server(l *line) {
	address, reason := serverAddress(l.word(2), true)
	if reason != "" {
		p.warn(l, reason)
		return
	}
	s := &server{line: l, address: address, name: l.word(1), params: readParams(append(append([]string(nil), p.serverDefaults...), l.words[min(3, len(l.words)):]...))}
	p.servers = append(p.servers, s)
	for name, reason := range lostOptions {
		if s.params.has(name) {
			p.warn(l, "option "+name+": "+reason)
		}
	}
}

// serverAddress translates the address of a server, or says why it cannot. portless allows one without a port, which stands for
// that of the client.
func serverAddress(a string, portless bool) (address, reason string) {
	switch {
	case strings.HasPrefix(a, "/"):
		return "unix:" + a, ""
	case strings.HasPrefix(a, "unix@"):
		return "unix:" + strings.TrimPrefix(a, "unix@"), ""
	case strings.HasPrefix(a, "ipv4@"), strings.HasPrefix(a, "ipv6@"), strings.HasPrefix(a, "tcp4@"), strings.HasPrefix(a, "tcp6@"):
		a = a[5:]
	case strings.ContainsRune(a, '@'):
		return "", "addresses of this kind have no counterpart"
	case a == "":
		return "", "no address"
	}
	host, port := splitAddress(a)
	if strings.Count(host, ":") > 0 && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	switch {
	case host == "" || host == "*" || host == "0.0.0.0" || host == "[::]":
		return "", "the address that the client wanted is no server"
	case portless && (port == "" || port == "0"):
		return host + clientPort, ""
	case strings.HasPrefix(port, "+") || strings.HasPrefix(port, "-"):
		return "", "a port relative to the client's has no counterpart"
	case !validPorts(port) || strings.ContainsRune(port, '-'):
		return "", "no port"
	}
	return host + ":" + port, ""
}

// clientPort follows the address of a server that is reached at the port that the client connected to.
const clientPort = " port=same"

// dispatch translates "dispatch ADDRESS", which is one server.
func (p *proxy) dispatch(l *line) {
	p.server(&line{number: l.number, text: l.text, words: []string{"server", "dispatch", l.word(1)}})
}

// serverTemplate translates a server-template line to the discovery of servers by DNS.
func (p *proxy) serverTemplate(l *line) {
	name, port := splitAddress(l.word(3))
	t := &table{}
	t.set("type", quote("dns"))
	t.set("name", quote(name))
	switch {
	case strings.HasPrefix(name, "_"):
		t.set("record", quote("srv"))
	case validPorts(port):
		t.set("record", quote("a"))
		t.set("port", port)
	default:
		p.warn(l, "no port")
		return
	}
	p.explain(l, "every server that the name has is used, not only "+l.word(2))
	p.servers = append(p.servers, &server{line: l, name: l.word(1), found: t, params: readParams(append(append([]string(nil), p.serverDefaults...), l.words[min(4, len(l.words)):]...))})
}

// text returns a server as an entry of a level's servers.
func (s *server) text() string {
	var b strings.Builder
	b.WriteString(s.address)
	if s.name != s.address {
		b.WriteString(" name=" + s.name)
	}
	for _, o := range s.options() {
		b.WriteString(" " + o)
	}
	return b.String()
}

// options returns the options of a server but its name, written key=value.
func (s *server) options() (list []string) {
	o := &s.params
	add := func(key, value string) { list = append(list, key+"="+value) }
	weight := o.values["weight"]
	switch {
	case o.has("disabled"):
		add("state", "maint")
	case weight == "0":
		add("state", "drain")
		weight = ""
	}
	if weight != "" && weight != "1" {
		add("weight", number(weight))
	}
	if n := o.values["maxconn"]; n != "" && n != "0" {
		add("max_sessions", number(n))
	}
	switch {
	case o.has("send-proxy-v2"), o.has("send-proxy-v2-ssl"), o.has("send-proxy-v2-ssl-cn"):
		add("send_proxy", "v2")
	case o.has("send-proxy"):
		add("send_proxy", "v1")
	}
	if from := o.values["source"]; from != "" {
		add("source", from)
	}
	return list
}

// writeCluster writes the cluster of a backend or listen section.
func (p *proxy) writeCluster() {
	name := p.h.clusterOf[p.section.name]
	p.omitPortlessChecks()
	t := p.h.add(clusterHeader("[cluster.%s]", name))
	t.notes, p.notes = p.notes, nil
	p.setClusterTimeouts()
	p.setFailover()
	copyKeys(t, &p.cluster)
	first, backups := [][]*server{nil}, [][]*server{}
	for _, s := range p.servers {
		switch {
		case !s.params.has("backup"):
			first[0] = append(first[0], s)
		case p.allBackups && len(backups) > 0:
			backups[0] = append(backups[0], s)
		default:
			backups = append(backups, []*server{s})
		}
	}
	for i, level := range append(first, backups...) {
		p.writeLevel(name, i, level)
	}
	p.writeChecks(name)
}

// writeLevel writes a level, with the discovery of its servers.
func (p *proxy) writeLevel(cluster string, index int, servers []*server) {
	t := p.h.add(clusterHeader("[[cluster.%s.level]]", cluster))
	var texts []string
	var found []*server
	for _, s := range servers {
		if s.found != nil {
			found = append(found, s)
		} else {
			texts = append(texts, s.text())
		}
	}
	t.set("servers", quoteList(texts))
	for i, s := range found {
		if i > 0 {
			p.h.warn(&t.notes, s.line.origin(), "a second server-template has no counterpart: use a level of its own")
			continue
		}
		d := p.h.add(clusterHeader("[cluster.%s.level.discover]", cluster))
		copyKeys(d, s.found)
		var options []string
		for _, o := range s.options() {
			key, value, _ := strings.Cut(o, "=")
			if number(value) != value {
				value = quote(value)
			}
			options = append(options, key+" = "+value)
		}
		if options != nil {
			d.set("server", "{ "+strings.Join(options, ", ")+" }")
		}
	}
}

// setClusterTimeouts sets what the timeouts mean for servers.
func (p *proxy) setClusterTimeouts() {
	idle, known := p.timeouts["server"]
	if tunnel, also := p.timeouts["tunnel"]; also {
		idle, known = tunnel, true
	}
	if known {
		p.cluster.set("server_idle_timeout", writeDuration(idle))
	}
	if d := p.timeouts["connect"]; d > 0 {
		p.cluster.set("connect_timeout", writeDuration(d))
	}
	limited := false
	for _, s := range p.servers {
		limited = limited || s.params.values["maxconn"] != ""
	}
	if !limited {
		return
	}
	queue, known := p.timeouts["queue"]
	if !known {
		queue = p.timeouts["connect"]
	}
	if queue > 0 {
		p.cluster.set("queue_timeout", writeDuration(queue))
	}
}

// setFailover sets what happens to servers that fail, as HAProxy does it.
func (p *proxy) setFailover() {
	observed, checked := false, false
	for _, s := range p.servers {
		o := &s.params
		checked = checked || o.has("check")
		observed = observed || o.values["observe"] == "layer4"
		if n := o.values["error-limit"]; n != "" {
			p.cluster.set("max_fails", number(n))
		}
		if o.values["on-marked-down"] == "shutdown-sessions" {
			p.cluster.set("on_down", quote("close"))
		}
		if o.values["on-marked-up"] == "shutdown-backup-sessions" {
			p.cluster.set("on_failback", quote("close"))
		}
		if d, ok := period(o.values["slowstart"], time.Millisecond); ok {
			p.cluster.set("slow_start", writeDuration(d))
		}
	}
	switch {
	case !observed:
		p.cluster.set("max_fails", "0") // only checks take servers out of use
	case p.cluster.values["max_fails"] == "":
		p.cluster.set("max_fails", "10")
	}
	if checked {
		p.cluster.set("protected", "false")
	}
}
