package convert

import (
	"errors"
	"fmt"
	"strings"
)

// HAProxy translates a configuration of HAProxy. The name of its file appears in comments.
func HAProxy(name, text string) (Result, error) {
	sections, err := readHAProxy(text)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", name, err)
	}
	if len(sections) == 0 {
		return Result{}, fmt.Errorf("%s: %w", name, errEmpty)
	}
	h := haproxy{document: document{file: name}, listeners: names{}, clusters: names{}, clusterOf: map[string]string{}, modeOf: map[string]string{}}
	for _, s := range sections {
		h.plan(s)
	}
	for _, s := range sections {
		h.section(s)
	}
	h.setUser()
	if h.nothing != "" {
		h.add(clusterHeader("[cluster.%s]", h.nothing)).comment("No servers: for clients that no route takes.")
		h.add(clusterHeader("[[cluster.%s.level]]", h.nothing)).set("servers", "[]")
	}
	return h.result(), nil
}

var errEmpty = errors.New("nothing to translate: the configuration is empty")

// haproxy is the translation of a configuration of HAProxy.
type haproxy struct {
	document
	listeners names
	clusters  names
	clusterOf map[string]string // names of clusters by names of backends
	modeOf    map[string]string // modes of proxies by name
	nothing   string            // cluster without servers, for listeners without a default backend; "" = not needed
	user      string
	group     string
}

// plan gives the cluster of a section its name: frontends refer to backends that follow them.
func (h *haproxy) plan(s *section) {
	if s.kind == "backend" || s.kind == "listen" {
		h.clusterOf[s.name], _ = h.clusters.make(s.name)
		h.modeOf[s.name] = modeOf(s)
	}
}

// modeOf returns the mode of a proxy.
func modeOf(s *section) string {
	mode := "tcp"
	for _, part := range []*section{s.defaults, s} {
		if part == nil {
			continue
		}
		for i := range part.lines {
			if part.lines[i].starts("mode") {
				mode = part.lines[i].word(1)
			}
		}
	}
	return mode
}

func (h *haproxy) section(s *section) {
	switch s.kind {
	case "global":
		for i := range s.lines {
			h.global(&s.lines[i])
		}
	case "defaults":
		// Its lines are applied to each proxy. Here those are kept that no proxy can use.
		p := h.newProxy(s)
		for i := range s.lines {
			p.line(&s.lines[i])
		}
		h.notes = append(h.notes, p.notes...)
	case "frontend", "backend", "listen":
		h.proxy(s)
	default:
		h.skipSection(s, otherSections[s.kind])
	}
}

// otherSections says why sections have no counterpart.
var otherSections = map[string]string{
	"peers":     "several weirs share nothing unless they are a fleet; hash and maglev send a client to the same server everywhere",
	"resolvers": "weir resolves host names with the resolver of the host; see resolve_interval",
	"mailers":   "use an [[event]] hook that sends mail",
}

// skipSection keeps a whole section as comments.
func (h *haproxy) skipSection(s *section, reason string) {
	if reason == "" {
		reason = "section " + s.kind + " has no counterpart"
	}
	h.warn(&h.notes, s.head.origin(), reason)
	for i := range s.lines {
		h.explain(&h.notes, s.lines[i].origin(), "in section "+s.kind)
	}
}

// skipHTTP keeps an HTTP proxy as comments.
func (h *haproxy) skipHTTP(s *section) {
	if isStatistics(s) {
		h.explain(&h.notes, s.head.origin(), "weir serves status, metrics and a dashboard itself: see [admin]")
		return
	}
	h.warn(&h.notes, s.head.origin(), "skipped: mode http; weir does not read HTTP. With mode tcp it could be translated")
	for i := range s.lines {
		h.explain(&h.notes, s.lines[i].origin(), "in an HTTP proxy")
	}
}

// isStatistics reports whether an HTTP proxy only shows HAProxy's statistics.
func isStatistics(s *section) bool {
	shows := false
	for i := range s.lines {
		switch s.lines[i].words[0] {
		case "stats":
			shows = true
		case "http-request": // such as use-service prometheus-exporter
			shows = shows || s.lines[i].word(1) == "use-service"
		case "server", "use_backend", "default_backend", "redirect":
			return false
		}
	}
	return shows
}

// notNeeded are lines without which nothing is lost, by their first words.
var notNeeded = map[string]string{
	"daemon": "weir runs in the foreground, under the service manager", "master-worker": "weir is one process, and upgrades itself by USR2",
	"pidfile": "the service manager knows the process", "chroot": "the unit file confines weir", "log": "see [log]",
	"log-tag": "see [log]", "log-send-hostname": "see [log]", "log-format": "records of sessions have fixed fields", "nbproc": "one process with event loops",
	"ulimit-n": "weir raises its limit of descriptors itself", "maxpipes": "pipes are borrowed as needed", "maxsslconn": "TLS is passed through",
	"description": "a comment", "node": "a name for statistics", "stats": "status, metrics and dashboard: see [admin]", "cpu-map": "event loops are not pinned",
	"spread-checks": "checks are spread over their interval", "server-state-base": "see state_file in [runtime]",
	"server-state-file": "see state_file in [runtime]", "load-server-state-from-file": "see state_file in [runtime]",
	"option tcplog": "see sessions in [log]", "option dontlognull": "see sessions in [log]", "option dontlog-normal": "sessions = \"errors\" is the default",
	"option log-separate-errors": "errors have severity warn", "option logasap": "sessions are logged at their end",
	"option log-health-checks": "changes are logged", "option tcpka": "keepalive is on", "option clitcpka": "keepalive is on", "option srvtcpka": "keepalive is on",
	"option redispatch": "a failed attempt always continues with another server", "option splice-auto": "splice is used where it is faster",
	"option splice-request": "splice is used where it is faster", "option splice-response": "splice is used where it is faster",
	"option tcp-smart-accept": "decided by weir", "option tcp-smart-connect": "decided by weir", "option contstats": "counters are always current",
	"option socket-stats": "counters are per listener", "option allbackups": "all servers of the backup level are used", "id": "names identify objects",
	"unique-id-format": "", "hash-type": "few clients move when servers change", "timeout http-request": "", "timeout http-keep-alive": "", "timeout tarpit": "",
	"option forwardfor": "", "option httplog": "", "option http-server-close": "", "option http-keep-alive": "", "option httpclose": "",
	"option forceclose": "", "option http-pretend-keepalive": "", "option http-use-htx": "", "option prefer-last-server": "", "errorfile": "",
	"errorloc": "", "errorloc302": "", "errorloc303": "", "compression": "", "http-reuse": "", "tcp-request inspect-delay": "", "declare": "",
	"option http-no-delay": "", "option http-ignore-probes": "", "option accept-invalid-http-request": "", "option accept-invalid-http-response": "",
	"unix-bind": "", "h1-case-adjust": "", "ssl-default-bind-options": "", "ssl-default-bind-ciphers": "", "ssl-default-bind-ciphersuites": "",
	"ssl-default-server-options": "", "ssl-default-server-ciphers": "", "ssl-default-server-ciphersuites": "", "ssl-dh-param-file": "", "ca-base": "",
	"crt-base": "", "ssl-server-verify": "", "ssl-mode-async": "", "busy-polling": "", "quiet": "a setting of the log", "zero-warning": "",
}

// reasonNotNeeded returns why a line can be left out, if it can.
func reasonNotNeeded(l *line) (string, bool) {
	for _, key := range []string{l.words[0] + " " + l.word(1), l.words[0]} {
		if reason, known := notNeeded[key]; known {
			if reason == "" {
				reason = "only for HTTP or TLS"
			}
			return reason, true
		}
	}
	if strings.HasPrefix(l.words[0], "tune.") {
		return "a setting of HAProxy's internals", true
	}
	return "", false
}

// global translates a line of the global section.
func (h *haproxy) global(l *line) {
	switch l.words[0] {
	case "maxconn":
		h.runtime.set("max_sessions", number(l.word(1)))
	case "nbthread":
		h.runtime.set("loops", number(l.word(1)))
	case "user", "uid":
		h.user = l.word(1)
	case "group", "gid":
		h.group = l.word(1)
	case "hard-stop-after":
		h.duration(&h.runtime, "drain_timeout", l, l.word(1))
	case "grace":
		h.duration(&h.runtime, "stop_delay", l, l.word(1))
	default:
		if reason, ok := reasonNotNeeded(l); ok {
			h.explain(&h.runtime.notes, l.origin(), reason)
		} else {
			h.warn(&h.notes, l.origin(), "no counterpart")
		}
	}
}

func (h *haproxy) setUser() {
	switch {
	case h.user != "" && h.group != "":
		h.runtime.set("user", quote(h.user+":"+h.group))
	case h.user != "":
		h.runtime.set("user", quote(h.user))
	}
}
