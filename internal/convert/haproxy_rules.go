package convert

import (
	"slices"
	"strings"
)

// rules are a proxy's conditions for clients: which are accepted, and where they go.
type rules struct {
	acls    map[string][]acl // by name: an ACL with several lines matches if one of them does
	routes  []route
	ended   bool // a use_backend line for every client was met
	access  access
	preread string
}

// route is a use_backend line: all conditions of it must hold.
type route struct {
	cluster string
	match   map[aclKind][]string
}

// useBackend translates a use_backend line to routes.
func (p *proxy) useBackend(l *line) {
	name := l.word(1)
	cluster := p.h.clusterOf[name]
	switch {
	case strings.Contains(name, "%["):
		p.warn(l, "names of backends that are computed have no counterpart")
		return
	case p.h.modeOf[name] == "http":
		p.warn(l, "the backend is an HTTP proxy, and was skipped")
		return
	case cluster == "":
		p.warn(l, "there is no such backend")
		return
	case p.rules.ended:
		p.explain(l, "no client reaches this rule")
		return
	}
	alternatives, reason := p.condition(l.words[2:])
	if reason != "" {
		p.warn(l, reason)
		return
	}
	var routes []route
	for _, terms := range alternatives {
		r := route{cluster: cluster, match: map[aclKind][]string{}}
		for _, t := range terms {
			kind := t.acls[0].kind
			switch {
			case t.not:
				p.warn(l, "a negated condition of a route has no counterpart")
				return
			case slices.ContainsFunc(t.acls, func(a acl) bool { return a.kind != kind }):
				p.warn(l, "an ACL of several criteria has no counterpart")
				return
			case kind == aclAlways, kind == aclTLS:
				continue
			case r.match[kind] != nil:
				p.warn(l, "two conditions of the same kind in one route have no counterpart")
				return
			}
			for _, a := range t.acls {
				r.match[kind] = append(r.match[kind], a.values...)
			}
		}
		routes = append(routes, r)
	}
	if len(routes) == 1 && len(routes[0].match) == 0 {
		p.defaultBackend, p.rules.ended = name, true
		return
	}
	p.rules.routes = append(p.rules.routes, routes...)
}

// tcpRequest translates a tcp-request line.
func (p *proxy) tcpRequest(l *line) {
	stage, action := l.word(1), l.word(2)
	switch {
	case stage == "inspect-delay":
		if d, ok := period(action, 1e6); ok {
			p.rules.preread = writeDuration(d)
		}
		return
	case stage != "connection" && stage != "session" && stage != "content":
		p.warn(l, "no counterpart")
		return
	case action == "expect-proxy":
		p.expectProxy(l)
		return
	case action != "accept" && action != "reject":
		p.warn(l, "no counterpart; limits per client are max_sessions_per_source and max_session_rate_per_source")
		return
	}
	alternatives, reason := p.condition(l.words[3:])
	if reason != "" {
		p.warn(l, reason)
		return
	}
	for _, terms := range alternatives {
		p.access(l, action == "accept", terms)
	}
}

// access translates one rule that accepts or rejects clients.
func (p *proxy) access(l *line, accept bool, terms []term) {
	var sources []acl
	not := false
	for _, t := range terms {
		switch kind := t.acls[0].kind; {
		case kind == aclTLS && accept && !t.not, kind == aclAlways && !t.not:
		case kind == aclSource && sources == nil:
			sources, not = t.acls, t.not
		default:
			p.warn(l, "only rules about the client's address have a counterpart")
			return
		}
	}
	var list []string
	for _, a := range sources {
		list = append(list, a.values...)
	}
	all := sources == nil
	if all && accept && len(terms) > 0 && terms[0].acls[0].kind == aclTLS {
		return // only for clients that speak TLS
	}
	if reason := p.rules.access.rule(accept, all, not, list); reason != "" {
		p.warn(l, reason)
	}
}

// expectProxy translates "tcp-request connection expect-proxy layer4 if SOURCE".
func (p *proxy) expectProxy(l *line) {
	alternatives, reason := p.condition(l.words[min(4, len(l.words)):])
	if reason == "" && len(alternatives) == 1 && len(alternatives[0]) == 1 && !alternatives[0][0].not && alternatives[0][0].acls[0].kind == aclSource {
		p.warn(l, "weir requires a PROXY header of every client of a listener: give clients without one another listener")
		return
	}
	p.warn(l, "no counterpart")
}

// writeRules adds the rules to a listener, and its routes after it.
func (p *proxy) writeRules(t *table) {
	r := &p.rules
	r.access.writeTo(t)
	peeks := false
	for i := range r.routes {
		route := p.h.add("[[listener.route]]")
		for _, k := range []struct {
			kind aclKind
			key  string
		}{{aclSNI, "sni"}, {aclALPN, "alpn"}, {aclSource, "source"}} {
			if values := r.routes[i].match[k.kind]; values != nil {
				route.set(k.key, quoteList(values))
				peeks = peeks || k.kind != aclSource
			}
		}
		route.set("cluster", quote(r.routes[i].cluster))
	}
	if peeks && r.preread != "" {
		t.set("preread_timeout", r.preread)
	}
}
