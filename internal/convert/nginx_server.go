package convert

import (
	"fmt"
	"strings"
	"time"

	"weir/internal/nginxconf"
)

// nginxServer is a server block while its directives are read, those that the stream block gives it first.
type nginxServer struct {
	n       *nginx
	notes   []string
	listens []*nginxListen
	// Settings by their last occurrence; a list in the server replaces that of the stream block.
	listener table
	cluster  table
	access   access
	proxies  []string // set_real_ip_from
	pass     *nginxconf.Directive
	checks   []*nginxconf.Directive
	rates    []*nginxconf.Directive // limits of the rate
	idle     time.Duration
	udp      bool
	accepts  bool // a listen line has proxy_protocol
}

// nginxListen is a listen line.
type nginxListen struct {
	address string
	udp     bool
	options table
}

// serverDirectives translates the directives of a server block that may stand in the stream block too.
var serverDirectives map[string]func(*nginxServer, *nginxconf.Directive)

func init() {
	serverDirectives = map[string]func(*nginxServer, *nginxconf.Directive){
		"proxy_connect_timeout":       clusterTime("connect_timeout"),
		"proxy_next_upstream_timeout": clusterTime("try_timeout"),
		"proxy_timeout": func(s *nginxServer, d *nginxconf.Directive) {
			if t, ok := period(d.Arg(0), time.Second); ok {
				s.idle = t
			}
		},
		"proxy_next_upstream_tries": func(s *nginxServer, d *nginxconf.Directive) { s.cluster.set("try", number(d.Arg(0))) },
		"proxy_next_upstream": func(s *nginxServer, d *nginxconf.Directive) {
			if d.Arg(0) == "off" {
				s.cluster.set("try", "1")
			}
		},
		"proxy_protocol": func(s *nginxServer, d *nginxconf.Directive) {
			if d.Arg(0) == "on" {
				s.cluster.set("send_proxy", quote("v1"))
			}
		},
		"proxy_bind": (*nginxServer).bind,
		"proxy_responses": func(s *nginxServer, d *nginxconf.Directive) {
			if d.Arg(0) == "0" {
				s.udpKey("requests", "1") // no reply is awaited: the next datagram is balanced again
			} else {
				s.udpKey("responses", number(d.Arg(0)))
			}
		},
		"proxy_requests":      func(s *nginxServer, d *nginxconf.Directive) { s.udpKey("requests", number(d.Arg(0))) },
		"proxy_upload_rate":   func(s *nginxServer, d *nginxconf.Directive) { s.rate("max_rate_up", d) },
		"proxy_download_rate": func(s *nginxServer, d *nginxconf.Directive) { s.rate("max_rate_down", d) },
		"preread_timeout": func(s *nginxServer, d *nginxconf.Directive) {
			if t, ok := period(d.Arg(0), time.Second); ok {
				s.listener.set("preread_timeout", writeDuration(t))
			}
		},
		"allow": func(s *nginxServer, d *nginxconf.Directive) { s.rule(d, true) },
		"deny":  func(s *nginxServer, d *nginxconf.Directive) { s.rule(d, false) },
		"limit_conn": func(s *nginxServer, d *nginxconf.Directive) {
			switch key := strings.Trim(s.n.zones[d.Arg(0)], "${}"); key {
			case "binary_remote_addr", "remote_addr":
				s.listener.set("max_sessions_per_source", number(d.Arg(1)))
			case "server_name", "server_addr", "server_port":
				s.listener.set("max_sessions", number(d.Arg(1)))
			default:
				s.n.warnHere(&s.notes, d, "limits have the client's address or the listener as their key")
			}
		},
		"set_real_ip_from": func(s *nginxServer, d *nginxconf.Directive) { s.proxies = append(s.proxies, d.Arg(0)) },
		"health_check":     func(s *nginxServer, d *nginxconf.Directive) { s.checks = append(s.checks, d) },
		"proxy_pass":       func(s *nginxServer, d *nginxconf.Directive) { s.pass = d },
		"listen":           (*nginxServer).listen,
	}
}

func clusterTime(key string) func(*nginxServer, *nginxconf.Directive) {
	return func(s *nginxServer, d *nginxconf.Directive) {
		if t, ok := period(d.Arg(0), time.Second); ok {
			s.cluster.set(key, writeDuration(t))
		}
	}
}

// rate translates a limit of the rate of a session, unless it is none.
func (s *nginxServer) rate(key string, d *nginxconf.Directive) {
	switch size := byteRate(d.Arg(0)); size {
	case "":
		s.n.warnHere(&s.notes, d, "a limit of the rate is the same for all sessions of a listener")
	case quote("0"):
	default:
		s.listener.set(key, size)
		s.rates = append(s.rates, d)
	}
}

// udpKey sets a key that only UDP listeners have.
func (s *nginxServer) udpKey(key, value string) { s.listener.set("udp "+key, value) }

func (s *nginxServer) bind(d *nginxconf.Directive) {
	switch a := d.Arg(0); {
	case a == "off":
	case strings.HasPrefix(a, "$remote_addr"):
		s.cluster.set("source", quote("client"))
	case strings.HasPrefix(a, "$"):
		s.n.warnHere(&s.notes, d, "the source is an address or the client's")
	default:
		host := a
		if at := strings.LastIndexByte(a, ':'); at > 0 && (strings.Count(a, ":") == 1 || strings.HasPrefix(a, "[")) && !strings.HasSuffix(a, "]") {
			host = a[:at]
		}
		s.cluster.set("source", quote(strings.Trim(host, "[]")))
	}
}

// rule translates an allow or deny line.
func (s *nginxServer) rule(d *nginxconf.Directive, accept bool) {
	a := d.Arg(0)
	if a != "all" && a != "unix:" && !isNetwork(a) {
		s.n.warnHere(&s.notes, d, "not an address or network")
		return
	}
	if reason := s.access.rule(accept, a == "all", false, []string{a}); reason != "" {
		s.n.warnHere(&s.notes, d, reason)
	}
}

// listen reads a listen line.
func (s *nginxServer) listen(d *nginxconf.Directive) {
	l := &nginxListen{}
	switch a := d.Arg(0); {
	case strings.HasPrefix(a, "unix:"):
		l.address = a
	case validPorts(a):
		l.address = "0.0.0.0:" + a
	case strings.HasPrefix(a, "*:"):
		l.address = "0.0.0.0" + a[1:]
	default:
		host, port := splitAddress(a)
		if host == "localhost" {
			host = "127.0.0.1"
		}
		if !validPorts(port) || !strings.HasPrefix(host, "[") && !isNetwork(host) {
			s.n.warnHere(&s.notes, d, "not an address with a port")
			return
		}
		l.address = host + ":" + port
	}
	for _, o := range d.Args[min(1, len(d.Args)):] {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "udp":
			l.udp, s.udp = true, true
		case "proxy_protocol":
			l.options.set("accept_proxy", "true")
			s.accepts = true
		case "deferred":
			l.options.set("defer_accept", "true")
		case "fastopen":
			l.options.set("fast_open", number(value))
		case "backlog":
			l.options.set("backlog", number(value))
		case "so_keepalive":
			if t, ok := period(strings.Split(value, ":")[0], time.Second); ok {
				l.options.set("tcp_keepalive", writeDuration(t))
			} else if value == "off" {
				l.options.set("tcp_keepalive", `"0s"`)
			}
		case "ssl":
			s.n.warnHere(&s.notes, d, "left out: weir passes TLS through and does not terminate it")
			return
		case "reuseport", "bind", "ipv6only", "rcvbuf", "sndbuf", "default_server", "multipath":
		default:
			s.n.warnHere(&s.notes, d, "option "+key+" has no counterpart")
		}
	}
	s.listens = append(s.listens, l)
}

// server translates a server block.
func (n *nginx) server(d *nginxconf.Directive) {
	s := &nginxServer{n: n, idle: 10 * time.Minute}
	s.cluster.set("connect_timeout", writeDuration(time.Minute))
	own := map[string]bool{} // a directive in the server replaces those of its name in the stream block
	for _, x := range d.Block {
		own[x.Name] = true
	}
	own["allow"] = own["allow"] || own["deny"]
	own["deny"] = own["allow"]
	for _, x := range n.inherited {
		if !own[x.Name] {
			serverDirectives[x.Name](s, x)
		}
	}
	for _, x := range d.Block {
		if translate := serverDirectives[x.Name]; translate != nil {
			translate(s, x)
		} else {
			n.other(&s.notes, x)
		}
	}
	if s.pass == nil || len(s.listens) == 0 {
		n.warnHere(&s.notes, d, "left out: no proxy_pass, or no address that could be translated")
		n.notes = append(n.notes, s.notes...)
		return
	}
	for _, udp := range []bool{false, true} {
		s.writeListeners(udp)
	}
}

// writeListeners writes the listeners of a protocol.
func (s *nginxServer) writeListeners(udp bool) {
	n := s.n
	var groups []*nginxListen
	var addresses [][]string
	for _, l := range s.listens {
		if l.udp != udp {
			continue
		}
		if i := len(groups) - 1; i >= 0 && sameTable(&groups[i].options, &l.options) {
			addresses[i] = append(addresses[i], l.address)
			continue
		}
		groups, addresses = append(groups, l), append(addresses, []string{l.address})
	}
	if udp && len(groups) > 0 {
		for _, d := range s.rates {
			n.warnHere(&s.notes, d, "udp listeners have no limit of the rate")
		}
	}
	for i, l := range groups {
		cluster, routes := s.target(udp)
		if s.cluster.values["source"] == quote("client") {
			s.notes = append(s.notes, "source = \"client\" needs rights and routes: see the guide for the configuration of the host.")
		}
		t := n.add("[[listener]]")
		t.notes, s.notes = s.notes, nil
		_, port := splitAddress(l.address)
		name, _ := n.listeners.make(fmt.Sprintf("%s-%s", strings.TrimPrefix(s.pass.Arg(0), "$"), strings.Trim(port, "/")))
		t.set("name", quote(name))
		setAddresses(t, addresses[i])
		if udp {
			t.set("protocol", quote("udp"))
		}
		t.set("cluster", quote(cluster))
		for _, k := range s.listener.keys {
			key, onlyUDP := strings.CutPrefix(k, "udp ")
			if onlyUDP && !udp || udp && strings.HasPrefix(key, "max_rate_") || key == "preread_timeout" && !peeks(routes) {
				continue
			}
			if udp && strings.HasPrefix(key, "max_sessions") {
				key = strings.Replace(key, "sessions", "flows", 1)
			}
			t.set(key, s.listener.values[k])
		}
		copyKeys(t, &l.options)
		if l.options.values["accept_proxy"] != "" {
			proxies := s.proxies
			if proxies == nil {
				proxies = []string{"0.0.0.0/0", "::/0"}
				t.comment("proxy_protocol trusts every client: list your proxies in trusted_proxies.")
			}
			t.set("trusted_proxies", quoteList(proxies))
		}
		if udp {
			t.set("flow_timeout", writeDuration(s.idle))
		} else {
			t.set("client_idle_timeout", writeDuration(s.idle))
		}
		s.access.writeTo(t)
		n.writeRoutes(routes)
	}
}
