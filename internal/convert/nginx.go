package convert

import (
	"fmt"
	"time"

	"weir/internal/nginxconf"
)

// NGINX translates the stream part of a configuration of nginx, whose includes have been read. The name of its file
// appears in comments.
func NGINX(name string, directives []*nginxconf.Directive) (Result, error) {
	if len(directives) == 0 {
		return Result{}, fmt.Errorf("%s: %w", name, errEmpty)
	}
	n := nginx{
		document: document{file: name}, listeners: names{}, clusters: names{}, upstreams: map[string]*nginxconf.Directive{},
		maps: map[string]*nginxconf.Directive{}, zones: map[string]string{}, matches: map[string]*nginxconf.Directive{}, clusterOf: map[string]string{},
	}
	n.main(directives)
	return n.result(), nil
}

// nginx is the translation of a configuration of nginx.
type nginx struct {
	document
	listeners names
	clusters  names
	upstreams map[string]*nginxconf.Directive
	maps      map[string]*nginxconf.Directive // map and split_clients blocks by the variable that they set
	zones     map[string]string               // keys of limit_conn_zone by zone
	matches   map[string]*nginxconf.Directive // for health_check
	clusterOf map[string]string               // names of clusters by upstream and settings
	inherited []*nginxconf.Directive          // settings of the stream block
	nothing   string                          // cluster without servers; "" = not needed
}

func (n *nginx) explainHere(notes *[]string, d *nginxconf.Directive, reason string) {
	n.explain(notes, origin{d.File, d.Line, d.Text()}, reason)
}

func (n *nginx) warnHere(notes *[]string, d *nginxconf.Directive, reason string) {
	n.warn(notes, origin{d.File, d.Line, d.Text()}, reason)
}

// nginxNotNeeded are directives without which nothing is lost.
var nginxNotNeeded = map[string]string{
	"daemon": "weir runs in the foreground, under the service manager", "master_process": "weir is one process", "pid": "the service manager knows the process",
	"error_log": "see [log]", "load_module": "nothing is loaded", "worker_rlimit_nofile": "weir raises its limit of descriptors itself",
	"worker_cpu_affinity": "event loops are not pinned", "worker_priority": "set it in the unit file", "pcre_jit": "a setting of nginx's internals",
	"thread_pool": "no thread pools", "timer_resolution": "a setting of nginx's internals", "env": "see the unit file", "multi_accept": "decided by weir",
	"use": "epoll is used", "accept_mutex": "connections are spread by the kernel", "log_format": "records of sessions have fixed fields",
	"access_log": "see sessions in [log]", "open_log_file_cache": "see [log]", "resolver": "names are resolved by the resolver of the host; see resolve_interval",
	"resolver_timeout": "names are resolved in the background", "proxy_buffer_size": "bytes are spliced, or pass buffers that are borrowed while needed",
	"tcp_nodelay": "always on", "proxy_socket_keepalive": "keepalive is on: see tcp_keepalive", "proxy_half_close": "half-closed connections always continue",
	"preread_buffer_size": "up to 16 kB of a ClientHello are read", "variables_hash_max_size": "a setting of nginx's internals",
	"variables_hash_bucket_size": "a setting of nginx's internals", "map_hash_max_size": "a setting of nginx's internals",
	"map_hash_bucket_size": "a setting of nginx's internals", "limit_conn_log_level": "rejected clients are counted and logged",
	"limit_conn_status": "HTTP only", "zone": "all event loops share one state", "ssl_preread": "read where a route needs it",
	"proxy_next_upstream": "a failed attempt continues with the next server", "worker_aio_requests": "a setting of nginx's internals",
	"debug_points": "a setting of nginx's internals", "lock_file": "a setting of nginx's internals", "working_directory": "set it in the unit file",
	"ssl_engine": "TLS is passed through", "keepalive": "HTTP only", "ntlm": "HTTP only", "state": "see state_file in [runtime]",
}

// other keeps a directive that has no counterpart.
func (n *nginx) other(notes *[]string, d *nginxconf.Directive) {
	if reason, ok := nginxNotNeeded[d.Name]; ok {
		n.explainHere(notes, d, reason)
		return
	}
	reasons := map[string]string{
		"http": "skipped: weir does not read HTTP", "mail": "skipped: weir is no mail proxy", "geo": "list the networks in the source of a route",
		"return": "weir sends nothing of its own", "js_filter": "there are no scripts", "js_preread": "there are no scripts", "js_access": "there are no scripts",
	}
	reason, known := reasons[d.Name]
	if !known {
		reason = "no counterpart"
	}
	n.warnHere(notes, d, reason)
}

// main translates the outermost directives.
func (n *nginx) main(directives []*nginxconf.Directive) {
	notes := &n.runtime.notes
	for _, d := range directives {
		switch d.Name {
		case "worker_processes":
			if d.Arg(0) != "auto" {
				n.runtime.set("loops", number(d.Arg(0)))
			}
		case "user":
			user := d.Arg(0)
			if group := d.Arg(1); group != "" {
				user += ":" + group
			}
			n.runtime.set("user", quote(user))
		case "worker_shutdown_timeout":
			if t, ok := period(d.Arg(0), time.Second); ok {
				n.runtime.set("drain_timeout", writeDuration(t))
			}
		case "events":
			for _, e := range d.Block {
				if e.Name == "worker_connections" {
					n.explainHere(notes, e, "as many sessions as the limit of descriptors allows; see max_sessions")
				} else {
					n.other(notes, e)
				}
			}
		case "stream":
			n.stream(d.Block)
		case "upstream", "server", "map", "split_clients", "limit_conn_zone":
			n.warnHere(&n.notes, d, "outside of a stream block")
		default:
			if nginxNotNeeded[d.Name] != "" {
				n.other(notes, d)
			} else {
				n.other(&n.notes, d)
			}
		}
	}
}

// stream translates a stream block. Servers may refer to what follows them.
func (n *nginx) stream(block []*nginxconf.Directive) {
	var servers []*nginxconf.Directive
	for _, d := range block {
		switch d.Name {
		case "upstream":
			n.upstreams[d.Arg(0)] = d
		case "map", "split_clients":
			n.maps[d.Arg(1)] = d
		case "limit_conn_zone":
			n.zones[zoneName(d)] = d.Arg(0)
		case "match":
			n.matches[d.Arg(0)] = d
		case "server":
			servers = append(servers, d)
		default:
			if serverDirectives[d.Name] == nil {
				n.other(&n.notes, d)
				continue
			}
			n.inherited = append(n.inherited, d)
		}
	}
	for _, d := range servers {
		n.server(d)
	}
	if n.nothing != "" {
		n.add(clusterHeader("[cluster.%s]", n.nothing)).comment("No servers: for clients that no route takes.")
		n.add(clusterHeader("[[cluster.%s.level]]", n.nothing)).set("servers", "[]")
	}
}
