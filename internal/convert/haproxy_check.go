package convert

import (
	"strings"
)

// checkKind is what the options of a proxy say about its checks.
type checkKind struct {
	kind    string // a type of check; "" = tcp
	table          // its keys
	steps   []step // of tcp-check
	sends   bool   // the last step of tcp-check sends and expects nothing yet
	line    *line
	command string // of external-check
	headers []string
}

// step is an exchange of a tcp-check.
type step struct{ send, expect, regex string }

// option translates option, http-check, tcp-check and external-check lines.
func (p *proxy) option(l *line) {
	c := &p.check
	first, second := l.words[0], l.word(1)
	set := func(kind string) {
		*c = checkKind{kind: kind, line: l}
	}
	switch {
	case first == "http-check":
		p.httpCheck(l)
	case first == "tcp-check":
		p.tcpCheck(l)
	case first == "external-check" && second == "command":
		c.command = l.word(2)
	case first == "external-check":
		p.warn(l, "programs of checks get a fixed environment")
	case second == "tcp-check":
		if c.kind != "tcp" {
			set("tcp")
		}
	case second == "redis-check":
		set("redis")
	case second == "mysql-check", second == "pgsql-check":
		kind := strings.TrimSuffix(second, "-check")
		set(kind)
		if l.word(2) == "user" {
			c.setText("user", l.word(3))
		} else if kind == "mysql" {
			p.explain(l, "without a user only the greeting of the server is read")
		}
	case second == "httpchk":
		set("http")
		p.httpOption(l)
	case second == "ssl-hello-chk":
		set("tcp")
		c.set("tls", "true")
		c.set("tls_skip_verify", "true")
	case second == "external-check":
		command := c.command
		set("exec")
		c.command = command
	case second == "smtpchk", second == "ldap-check", second == "spop-check":
		set("tcp")
		p.warn(l, "the check only connects: no counterpart for this protocol")
	case second == "allbackups":
		p.allBackups = true
		p.explain(l, "all servers of the backup level are used")
	default:
		if reason, ok := reasonNotNeeded(l); ok {
			p.explain(l, reason)
		} else {
			p.warn(l, "no counterpart")
		}
	}
}

// httpOption reads the words of "option httpchk [METHOD] [PATH] [VERSION]".
func (p *proxy) httpOption(l *line) {
	words := l.words[2:]
	method, path := "OPTIONS", "/"
	switch len(words) {
	case 0:
	case 1:
		path = words[0]
	default:
		method, path = words[0], words[1]
	}
	p.check.set("method", quote(method))
	p.check.set("path", quote(path))
	if len(words) > 2 { // a version may carry header lines: "HTTP/1.1\r\nHost: www"
		for _, h := range strings.Split(strings.Join(words[2:], " "), "\r\n")[1:] {
			p.header(h)
		}
	}
}

// header adds a header line of HTTP checks.
func (p *proxy) header(line string) {
	name, value, _ := strings.Cut(line, ":")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if strings.EqualFold(name, "Host") {
		p.check.set("host", quote(value))
	} else if name != "" {
		p.check.headers = append(p.check.headers, name+": "+value)
	}
}

// httpCheck translates an http-check line.
func (p *proxy) httpCheck(l *line) {
	c := &p.check
	switch words := l.words[2:]; l.word(1) {
	case "send":
		for i := 0; i+1 < len(words); i += 2 {
			switch words[i] {
			case "meth":
				c.set("method", quote(words[i+1]))
			case "uri":
				c.set("path", quote(words[i+1]))
			case "body":
				c.set("body", quote(words[i+1]))
			case "hdr":
				if i+2 < len(words) {
					p.header(words[i+1] + ":" + words[i+2])
				}
				i++
			case "ver":
			default:
				p.warn(l, words[i]+" has no counterpart")
			}
		}
	case "expect":
		switch what := l.word(2); {
		case what == "status" && len(l.words) == 4:
			codes, ok := statusCodes(l.word(3))
			if !ok {
				p.warn(l, "these status codes have no counterpart")
			}
			c.set("ok_codes", quote(codes))
		case what == "string" && len(l.words) == 4:
			c.set("expect", quote(l.word(3)))
			c.set("ok_codes", quote("1xx 2xx 3xx 4xx 5xx"))
		default:
			p.warn(l, "this expectation has no counterpart")
		}
	case "connect":
		p.checkConnect(l)
	case "comment":
	default:
		p.warn(l, "no counterpart")
	}
}

// okCodes are the status codes with which HAProxy is content unless it is told others.
const okCodes = "2xx 3xx"

// statusCodes translates a list of status codes and ranges.
func statusCodes(list string) (string, bool) {
	var codes []string
	for _, c := range strings.Split(list, ",") {
		first, last, isRange := strings.Cut(c, "-")
		switch {
		case !isRange:
			codes = append(codes, c)
		case len(first) == 3 && len(last) == 3 && first[1:] == "00" && last[1:] == "99":
			for d := first[0]; d <= last[0]; d++ {
				codes = append(codes, string(d)+"xx")
			}
		default:
			return okCodes, false
		}
	}
	return strings.Join(codes, " "), true
}

// tcpCheck translates a tcp-check line.
func (p *proxy) tcpCheck(l *line) {
	c := &p.check
	if c.kind == "" {
		c.kind = "tcp"
	}
	send := func(text string) {
		if !c.sends {
			c.steps = append(c.steps, step{})
		}
		last := &c.steps[len(c.steps)-1]
		if strings.HasPrefix(last.send, "0x") != strings.HasPrefix(text, "0x") && last.send != "" {
			p.warn(l, "text and bytes in one exchange have no counterpart")
			return
		}
		if last.send != "" {
			text = strings.TrimPrefix(text, "0x")
		}
		last.send += text
		c.sends = true
	}
	expect := func(s step) {
		if !c.sends {
			c.steps = append(c.steps, step{})
		}
		last := &c.steps[len(c.steps)-1]
		last.expect, last.regex = s.expect, s.regex
		c.sends = false
	}
	switch what := l.word(2); l.word(1) {
	case "connect":
		p.checkConnect(l)
	case "send":
		send(what)
	case "send-binary":
		send(bytesLiteral(what))
	case "expect":
		words := l.words[2:]
		for len(words) > 2 && (words[0] == "min-recv" || words[0] == "comment" || strings.HasSuffix(words[0], "-status") || strings.HasPrefix(words[0], "on-")) {
			words = words[2:]
		}
		value := ""
		if len(words) == 2 {
			value = words[1]
		}
		switch {
		case value != "" && words[0] == "string":
			expect(step{expect: value})
		case value != "" && words[0] == "binary":
			expect(step{expect: bytesLiteral(value)})
		case value != "" && words[0] == "rstring":
			expect(step{regex: value})
		default:
			p.warn(l, "this expectation has no counterpart")
		}
	case "comment":
	default:
		p.warn(l, "no counterpart")
	}
}

// checkConnect translates the connect rule of a check.
func (p *proxy) checkConnect(l *line) {
	c := &p.check
	if len(c.steps) > 0 {
		p.warn(l, "a second connection of a check has no counterpart: use a second check")
		return
	}
	for i := 2; i < len(l.words); i++ {
		switch w := l.words[i]; w {
		case "port":
			c.set("port", number(l.word(i+1)))
			i++
		case "addr":
			c.setText("address", l.word(i+1))
			i++
		case "ssl":
			c.set("tls", "true")
		case "sni":
			c.setText("tls_server_name", l.word(i+1))
			i++
		case "default", "linger", "send-proxy":
		case "comment":
			i++
		default:
			p.warn(l, "option "+w+" has no counterpart")
			return
		}
	}
}
