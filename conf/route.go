package conf

// Routes of listeners: which cluster gets a client, by what it asks for and where it comes from.

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"weir/conf/internal/tree"
)

// Route sends some clients of a listener to a cluster, or divides them among clusters. All of its conditions must hold;
// one without a value always holds. Exactly one of Cluster and Split is set.
type Route struct {
	Name    string   // "" = unnamed
	SNI     []string // patterns of server names, in lower case without a final dot
	ALPN    []string
	Source  Clients
	Cluster string
	Split   []Share // sorted by cluster
}

// Share is the part of a split that one cluster gets.
type Share struct {
	Cluster string
	Weight  int
}

// DefaultRoute is the name of the route of clients that match no other.
const DefaultRoute = "default"

// RouteLabel returns the name of route i or, if it has none, its position.
func (l *Listener) RouteLabel(i int) string {
	if name := l.Routes[i].Name; name != "" {
		return name
	}
	return fmt.Sprintf("route[%d]", i)
}

// Clusters iterates over the clusters that a route may choose, in order.
func (r *Route) Clusters() iter.Seq[string] {
	return func(yield func(string) bool) {
		if r.Cluster != "" && !yield(r.Cluster) {
			return
		}
		for _, s := range r.Split {
			if !yield(s.Cluster) {
				return
			}
		}
	}
}

// Clusters returns the clusters that may serve the clients of a listener, each once: its own, then those of its routes.
func (l *Listener) Clusters() []string {
	names, seen := []string{l.Cluster}, map[string]bool{l.Cluster: true}
	for i := range l.Routes {
		for name := range l.Routes[i].Clusters() {
			if !seen[name] {
				names, seen[name] = append(names, name), true
			}
		}
	}
	return names
}

// NeedsHello reports whether a route of the listener has a condition on the client's TLS ClientHello.
func (l *Listener) NeedsHello() bool {
	return slices.ContainsFunc(l.Routes, func(r Route) bool { return len(r.SNI)+len(r.ALPN) > 0 })
}

// String formats the route for plans, without its name.
func (r Route) String() string { return r.Conditions() + " to " + r.Target() }

// Conditions formats the conditions of the route.
func (r *Route) Conditions() string {
	var parts []string
	for _, c := range []struct{ name, text string }{
		{"sni", strings.Join(r.SNI, ", ")}, {"alpn", strings.Join(r.ALPN, ", ")}, {"source", r.sourceText()},
	} {
		if c.text != "" {
			parts = append(parts, c.name+" "+c.text)
		}
	}
	if len(parts) == 0 {
		return "every client"
	}
	return strings.Join(parts, "; ")
}

func (r *Route) sourceText() string {
	if r.Source.IsEmpty() {
		return ""
	}
	return r.Source.String()
}

// Target formats the cluster, or the clusters with their weights.
func (r *Route) Target() string {
	if r.Cluster != "" {
		return r.Cluster
	}
	texts := make([]string, len(r.Split))
	for i, s := range r.Split {
		texts[i] = fmt.Sprintf("%s=%d", s.Cluster, s.Weight)
	}
	return strings.Join(texts, " ")
}

// routeDraft is a route whose references are not linked yet.
type routeDraft struct {
	Route
	node *tree.Node
}

func routeKeys() []key[routeDraft] {
	return []key[routeDraft]{
		scalar("name", nameType(), "", func(r *routeDraft) *string { return &r.Name },
			"Unique in the listener; shown in session records and lists. `default` is reserved.").withDefaultText("its position, as in `route[0]`").withAliases("id"),
		textList("sni", "server names", validateServerName, func(r *routeDraft) *[]string { return &r.SNI },
			"Server names of the client's TLS ClientHello; case does not matter. `\"*.example.com\"` matches names with one or more "+
				"labels before `.example.com`. Empty = any client.").onlyFor("tcp").withAliases("server_name", "server_names", "host", "hosts", "hostname"),
		textList("alpn", "protocols", validateProtocol, func(r *routeDraft) *[]string { return &r.ALPN },
			"Protocols that the client offers in its ClientHello (ALPN), at least one of these. Empty = any client.").onlyFor("tcp").withAliases("protocols"),
		clients("source", func(r *routeDraft) *Clients { return &r.Source },
			"Addresses of clients, after the PROXY header: as in `allow`. Empty = any client.").withAliases("src", "sources", "from", "client", "clients", "source_ip"),
		scalar("cluster", nameType(), "", func(r *routeDraft) *string { return &r.Cluster },
			"The cluster that serves the clients. Either this or `split`.").withDefaultText("none").withAliases("proxy_pass", "service", "use_backend", "backend"),
		{
			name: "split", typeText: "table", aliases: []string{"weights", "split_clients", "weighted", "clusters"},
			doc: "Clusters with their weights, as in `{ stable = 95, canary = 5 }`: clients are divided by a hash of their address, so " +
				"each stays with its cluster, on every weir. A weight that grows moves clients to that cluster only.",
			decode: decodeSplit,
		},
	}
}

// textList is a key that holds a list of texts, at least one. validate returns the text in its canonical form.
func textList(name, what string, validate func(string) (string, error), field func(*routeDraft) *[]string, doc string) key[routeDraft] {
	return key[routeDraft]{
		name: name, typeText: "list", defaultText: "[]", doc: doc,
		decode: func(d *decoder, n *tree.Node, into *routeDraft) {
			if n.Kind != tree.List {
				d.errorAt(n, "want a list of %s, got %s", what, n.Describe())
				return
			}
			if len(n.Items) == 0 {
				d.errorAt(n, "empty list; omit %s for routes without this condition", name)
			}
			seen := make(map[string]bool)
			for _, e := range n.Items {
				s, ok := e.Value.(string)
				if !ok {
					d.errorAt(e, "want a string, got %s", e.Describe())
					continue
				}
				text, err := validate(s)
				switch {
				case err != nil:
					d.errorAt(e, "%s", err)
				case seen[text]:
					d.warn(e, "%s is listed twice", tree.Quote(s))
				default:
					*field(into), seen[text] = append(*field(into), text), true
				}
			}
		},
	}
}

// Limits of names in DNS (RFC 1035, 2.3.4).
const (
	maxHostName = 253
	maxLabel    = 63
)

// validateServerName returns a pattern of server names in lower case and without a final dot.
func validateServerName(s string) (string, error) {
	name := strings.TrimSuffix(strings.ToLower(s), ".")
	rest, _ := strings.CutPrefix(name, "*.")
	bad := strings.IndexFunc(rest, func(r rune) bool { return r > 0x7f || !isNameByte(byte(r)) })
	switch {
	case name == "":
		return "", fmt.Errorf("empty server name")
	case name == "*":
		return "", fmt.Errorf("\"*\" alone is not a pattern; omit sni for clients of any name")
	case strings.Contains(rest, "*"):
		return "", fmt.Errorf("\"*\" stands for labels at the left only, as in \"*.example.com\", got %s", tree.Quote(s))
	case bad >= 0 && rest[bad] >= 0x80:
		return "", fmt.Errorf("want a server name in ASCII (\"xn--…\"), got %s", tree.Quote(s))
	case bad >= 0:
		return "", fmt.Errorf("want a server name such as \"db.example.com\" or \"*.example.com\", got %s", tree.Quote(s))
	case len(rest) > maxHostName:
		return "", fmt.Errorf("a server name has at most %d bytes, got %d", maxHostName, len(rest))
	}
	for label := range strings.SplitSeq(rest, ".") {
		if label == "" || len(label) > maxLabel {
			return "", fmt.Errorf("want labels of 1 to %d bytes between the dots, got %s", maxLabel, tree.Quote(s))
		}
	}
	return name, nil
}

// validateProtocol validates the name of an ALPN protocol: 1 to 255 bytes (RFC 7301, 3.1).
func validateProtocol(s string) (string, error) {
	if len(s) < 1 || len(s) > 255 {
		return "", fmt.Errorf("a protocol has 1 to 255 bytes, got %d", len(s))
	}
	return s, nil
}

// maxSplitWeight is the largest weight of a share.
const maxSplitWeight = 1 << 16

func decodeSplit(d *decoder, n *tree.Node, r *routeDraft) {
	if n.Kind != tree.Table {
		d.errorAt(n, "want clusters with weights such as { stable = 95, canary = 5 }, got %s", n.Describe())
		return
	}
	weight, total, failed := integerType(0, maxSplitWeight), 0, false
	for _, c := range n.Keys {
		w, ok := read(d, c, weight)
		failed = failed || !ok
		total += w
		r.Split = append(r.Split, Share{Cluster: c.Name, Weight: w})
	}
	slices.SortFunc(r.Split, func(a, b Share) int { return strings.Compare(a.Cluster, b.Cluster) })
	switch {
	case failed:
	case len(n.Keys) == 0:
		d.errorAt(n, "empty split; want clusters with weights such as { stable = 95, canary = 5 }")
	case total == 0:
		d.errorAt(n, "all weights are 0; want at least one above 0")
	}
}

func decodeRoute(d *decoder, n *tree.Node, l *listenerDraft) {
	r := routeDraft{node: n}
	decodeTable(d, n, d.schema.route, &r)
	l.routes = append(l.routes, r)
	cluster, split := n.Get("cluster"), n.Get("split")
	switch {
	case n.Kind != tree.Table:
	case cluster == nil && split == nil:
		d.errorMissing(n, "cluster", "missing key cluster or split")
	case cluster != nil && split != nil:
		d.errorAtKey(split, "a route has either cluster or split")
	}
	if name := n.Get("name"); name != nil && r.Name == DefaultRoute {
		d.errorAt(name, "%q is the name of the route of clients that match no other", DefaultRoute)
	}
	if source := n.Get("source"); source != nil && source.Kind == tree.List && len(source.Items) == 0 {
		d.errorAt(source, "empty list; omit source for routes without this condition")
	}
}

// finishRoutes validates the routes of a listener whose other keys are decoded.
func (l *listenerDraft) finishRoutes(d *decoder, n *tree.Node) {
	named := make(map[string]*tree.Node)
	for i := range l.routes {
		r := &l.routes[i]
		l.Routes = append(l.Routes, r.Route)
		if at := r.node.Get("name"); at != nil && r.Name != "" {
			if old := named[r.Name]; old != nil {
				d.errorAt(at, "duplicate name %s of a route (%s)", tree.QuoteKey(r.Name), lines(old, at))
			}
			named[r.Name] = at
		}
		for _, k := range d.schema.route {
			if at := r.node.Get(k.name); at != nil && k.types != nil && !slices.Contains(k.types, l.Protocol) {
				d.errorAtKey(at, "%s applies to routes of %s listeners; the protocol of this one is %s", k.name, k.types[0], l.Protocol)
			}
		}
	}
	d.warnCoveredRoutes(l)
}

// linkRoutes validates the clusters of a listener's routes.
func (d *decoder) linkRoutes(all *draft, l *listenerDraft, clusters map[string]*clusterDraft, used map[string]bool) {
	for i := range l.routes {
		r := &l.routes[i]
		for name := range r.Clusters() {
			used[name] = true
			if d.tooManyErrors() {
				return
			}
			if clusters[name] != nil || d.incomplete || all.suggested(d, "cluster") {
				continue
			}
			at := r.clusterReference(name)
			if at.Parent == r.node {
				d.errorAt(at, "listener %s: cluster %q not defined%s", l.Name, name, suggest(d, name, clusters))
			} else {
				d.errorAtKey(at, "listener %s: cluster %q not defined%s", l.Name, name, suggest(d, name, clusters))
			}
		}
	}
}

// clusterReference returns the node that names a cluster that the route may choose.
func (r *routeDraft) clusterReference(name string) *tree.Node {
	if split := r.node.Get("split"); split != nil && split.Get(name) != nil {
		return split.Get(name)
	}
	return r.node.Get("cluster")
}

// clusterReference returns the first node that names a cluster that the listener may choose.
func (l *listenerDraft) clusterReference(name string) *tree.Node {
	if l.Cluster == name {
		return l.node.Get("cluster")
	}
	for i := range l.routes {
		for own := range l.routes[i].Clusters() {
			if own == name {
				return l.routes[i].clusterReference(name)
			}
		}
	}
	return l.node
}
