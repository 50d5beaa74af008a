package convert

import (
	"fmt"
	"slices"
	"strings"
)

// acl is what one line of an ACL tests. Its zero value tests something that weir cannot.
type acl struct {
	kind   aclKind
	values []string
}

type aclKind uint8

const (
	aclUnknown aclKind = iota
	aclSNI
	aclALPN
	aclSource
	aclTLS    // the client speaks TLS
	aclAlways // every client
)

// acl reads an acl line.
func (p *proxy) acl(l *line) {
	a, reason := readACL(l.words[min(2, len(l.words)):])
	if reason != "" {
		p.warn(l, reason)
	}
	p.rules.acls[l.word(1)] = append(p.rules.acls[l.word(1)], a)
}

// readACL reads the criterion, flags and values of an ACL.
func readACL(words []string) (a acl, reason string) {
	if len(words) == 0 {
		return a, "an ACL without a criterion"
	}
	criterion, converters, _ := strings.Cut(words[0], ",")
	method := "str"
	values := words[1:]
	for len(values) > 0 && strings.HasPrefix(values[0], "-") {
		flag := values[0]
		values = values[1:]
		switch flag {
		case "-m":
			if len(values) > 0 {
				method, values = values[0], values[1:]
			}
		case "-f", "-M":
			return a, "the values are in a file: list them in the route"
		case "-i", "-n", "-u", "--":
		}
	}
	for _, c := range strings.Split(converters, ",") {
		if c != "" && c != "lower" {
			return a, "converter " + c + " has no counterpart"
		}
	}
	switch criterion {
	case "req.ssl_sni", "req_ssl_sni":
		a.kind = aclSNI
	case "req.ssl_alpn":
		a.kind = aclALPN
	case "src":
		a.kind = aclSource
	case "req.ssl_hello_type", "req_ssl_hello_type", "rep.ssl_hello_type":
		if slices.Equal(values, []string{"1"}) {
			return acl{kind: aclTLS}, ""
		}
	case "always_true", "TRUE":
		return acl{kind: aclAlways}, ""
	}
	switch {
	case a.kind == aclUnknown:
		return a, "criterion " + criterion + " has no counterpart"
	case a.kind == aclSource:
		return sourceACL(values)
	case method == "str", method == "found" && len(values) > 0:
		a.values = values
	case a.kind == aclSNI && (method == "end" || method == "dom"):
		for _, v := range values {
			name := strings.TrimPrefix(v, ".")
			if name == v {
				a.values = append(a.values, name)
			}
			a.values = append(a.values, "*."+name)
		}
	default:
		return acl{}, "matching by -m " + method + " has no counterpart"
	}
	if len(a.values) == 0 {
		return acl{}, "an ACL without values has no counterpart"
	}
	return a, ""
}

// sourceACL reads addresses and networks.
func sourceACL(values []string) (acl, string) {
	for _, v := range values {
		if !isNetwork(v) {
			return acl{}, fmt.Sprintf("%q is not an address or network", v)
		}
	}
	if len(values) == 0 {
		return acl{}, "an ACL without values has no counterpart"
	}
	return acl{kind: aclSource, values: values}, ""
}

// term is one condition: an ACL that must, or must not, match.
type term struct {
	acls []acl
	not  bool
}

// condition reads what follows "if" or "unless": alternatives of terms that must all hold. reason says why it cannot be
// translated.
func (p *proxy) condition(words []string) (alternatives [][]term, reason string) {
	if len(words) == 0 {
		return [][]term{{}}, ""
	}
	unless := words[0] == "unless"
	if words[0] != "if" && !unless {
		return nil, "unexpected " + words[0]
	}
	terms := []term{}
	not := false
	for i := 1; i < len(words); i++ {
		switch w := words[i]; {
		case w == "or" || w == "||":
			alternatives = append(alternatives, terms)
			terms = []term{}
		case w == "!":
			not = !not
		case w == "{" || w == "!{":
			end := slices.Index(words[i:], "}")
			if end < 0 {
				return nil, "a condition without }"
			}
			a, reason := readACL(words[i+1 : i+end])
			if reason != "" {
				return nil, reason
			}
			terms = append(terms, term{[]acl{a}, not != (w == "!{")})
			not = false
			i += end
		default:
			name := strings.TrimPrefix(w, "!")
			list := p.rules.acls[name]
			switch {
			case list != nil:
			case name == "TRUE":
				list = []acl{{kind: aclAlways}}
			case name == "LOCALHOST":
				list = []acl{{kind: aclSource, values: []string{"127.0.0.1/8", "::1"}}}
			default:
				return nil, "ACL " + name + " is not defined before this line"
			}
			if slices.ContainsFunc(list, func(a acl) bool { return a.kind == aclUnknown }) {
				return nil, "ACL " + name + " could not be translated"
			}
			terms = append(terms, term{list, not != (name != w)})
			not = false
		}
	}
	alternatives = append(alternatives, terms)
	if unless {
		if len(alternatives) > 1 || len(terms) != 1 {
			return nil, "unless with several conditions has no counterpart"
		}
		terms[0].not = !terms[0].not
	}
	return alternatives, ""
}
