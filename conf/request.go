package conf

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"weir/conf/internal/tree"
)

// Servers and clusters that are defined at run time, in JSON.

// ParseServer parses a server of a cluster: an object with the keys of a server and "level", or a string. It returns
// the index of the level that "level" gives by name or by number counted from 1, by default 0. The error is of type
// Errors.
func ParseServer(text []byte, c *Cluster) (s Server, level int, err error) {
	n, err := parseJSON(text)
	if err != nil {
		return s, 0, err
	}
	d := newDecoder()
	table := serverTable(d, n)
	if table == nil {
		return s, 0, d.err()
	}
	if at := table.Get("level"); at != nil {
		level = d.findLevel(at, c)
		table.Delete("level")
	}
	s = c.Defaults
	decodeTable(d, table, d.schema.server, &s)
	finishServer(d, table, &s)
	if len(d.errs) == 0 {
		d.validateSameAsOtherLevels(table, &s, c)
		if why := c.Topology.refuses(s.Address); why != "" {
			d.errorAt(table, "server %s %s", tree.Quote(s.Name), why)
		}
	}
	return s, level, d.err()
}

// UsesHost returns the path of the first key of a request, a server or a cluster in JSON, through which weir would run a program
// read a file or an environment variable of this host, or connect to one of its unix sockets; "" = none. Such keys are named
// *_file and *_env, the type of a check or provider is exec, path is that of a provider, and an address begins with unix:. A text that is not JSON has none.
func UsesHost(text []byte) string {
	n, err := parseJSON(text)
	if err != nil {
		return ""
	}
	return usesHost(n)
}

func usesHost(n *tree.Node) string {
	if strings.HasSuffix(n.Name, "_file") || strings.HasSuffix(n.Name, "_env") || n.Name == "exec" || n.Name == "type" && n.Value == "exec" ||
		n.Name == "path" && n.Parent != nil && n.Parent.Name == "discover" {
		return n.Path()
	}
	if s, ok := n.Value.(string); ok { // maybe an address or the string form of a server
		words := strings.Fields(s) // as the string form of a server is read: spaces before it do not count
		if len(words) > 0 && strings.HasPrefix(words[0], "unix:") && (n.Name == "address" || n.Name == "" || n.Name == "servers") {
			return cmp.Or(n.Path(), "address")
		}
		for _, word := range words[min(1, len(words)):] {
			if key, _, _ := strings.Cut(word, "="); strings.HasSuffix(key, "_file") || strings.HasSuffix(key, "_env") {
				return strings.TrimPrefix(n.Path()+"."+key, ".")
			}
		}
	}
	for _, list := range [][]*tree.Node{n.Keys, n.Items} {
		for _, c := range list {
			if path := usesHost(c); path != "" {
				return path
			}
		}
	}
	return ""
}

// SecretKey returns the path of the first key of a request, a server or a cluster in JSON, whose value may be secret: one that plans
// hide; "" = none.
func SecretKey(text []byte) string {
	n, err := parseJSON(text)
	if err != nil {
		return ""
	}
	s := newSchema()
	secret := map[string]bool{}
	addSecrets(secret, s.cluster)
	addSecrets(secret, s.level)
	addSecrets(secret, s.server)
	addSecrets(secret, s.check)
	addSecrets(secret, s.step)
	addSecrets(secret, s.topology)
	addSecrets(secret, s.discover)
	return secretKey(n, secret)
}

func addSecrets[T any](names map[string]bool, keys []key[T]) {
	for _, k := range keys {
		if k.secret {
			names[k.name] = true
		}
	}
}

func secretKey(n *tree.Node, secret map[string]bool) string {
	if secret[n.Name] {
		return n.Path()
	}
	for _, list := range [][]*tree.Node{n.Keys, n.Items} {
		for _, c := range list {
			if path := secretKey(c, secret); path != "" {
				return path
			}
		}
	}
	return ""
}

// findLevel returns the index of the level that a value names.
func (d *decoder) findLevel(n *tree.Node, c *Cluster) int {
	number := 0
	switch v := n.Value.(type) {
	case string:
		if i := slices.IndexFunc(c.Levels, func(l Level) bool { return l.Name == v && v != "" }); i >= 0 {
			return i
		}
		number, _ = strconv.Atoi(v)
	case int64:
		number = int(max(0, min(v, maxInt)))
	default:
		d.errorAt(n, "want a level's name or its number counted from 1, got %s", n.Describe())
		return 0
	}
	if number < 1 || number > len(c.Levels) {
		names := make(map[string]bool)
		for _, l := range c.Levels {
			names[l.Name] = l.Name != ""
		}
		word, _ := n.Value.(string)
		d.errorAt(n, "cluster %s has no level %s%s", c.Name, n.Describe(), suggest(d, word, names))
		return 0
	}
	return number - 1
}

// validateSameAsOtherLevels rejects a server that is in another level with other values.
func (d *decoder) validateSameAsOtherLevels(n *tree.Node, s *Server, c *Cluster) {
	for i, l := range c.Levels {
		for j := range l.Servers {
			old := &l.Servers[j]
			if old.Name != s.Name {
				continue
			}
			for _, x := range d.differences(old, s) {
				d.errorAt(n, "server %q is also in level %s, with %s %s instead of %s; only the weight may differ", s.Name, levelLabel(c, i), x.Key, x.From, x.To)
			}
			return
		}
	}
}

// ParseCluster parses a cluster with the keys of the file; the arrays "levels" and "checks" stand for the repeated
// tables. If it has only "levels", everything else is that of old, which may be nil. The error is of type Errors.
func ParseCluster(name string, text []byte, old *Cluster) (Cluster, error) {
	n, err := parseObject(text)
	if err != nil {
		return Cluster{}, err
	}
	root := &tree.Node{File: n.File, Kind: tree.Table}
	all := &tree.Node{File: n.File, Kind: tree.Table, Parent: root, Name: "cluster", Keys: []*tree.Node{n}}
	root.Keys = []*tree.Node{all}
	n.Parent, n.Name = all, name
	d := newDecoder()
	d.renameArrays(n)
	named := len(d.errs) // the errors so far have the names of the request
	var c clusterDraft
	if old != nil && len(n.Keys) == 1 && n.Keys[0].Name == "level" {
		c = clusterDraft{Cluster: *old, node: n}
		c.Levels = nil
		decodePresent(d, n, d.schema.cluster, &c)
		if len(c.levels) == 0 {
			d.errorAt(n.Keys[0], "cluster %s has no server: it has no level; want at least one", name)
		}
		validateLevels(d, &c)
		validateTopology(d, &c)
		for _, l := range c.levels {
			c.Levels = append(c.Levels, l.finish())
		}
		d.validateCheckServers(n.Keys[0], &c.Cluster)
	} else {
		c = decodeCluster(d, n)
	}
	for i := range d.errs {
		m := &d.errs[i]
		m.Path = strings.TrimPrefix(strings.TrimPrefix(m.Path, n.Path()), ".")
		for _, key := range []string{"level", "check"} {
			if i < named {
				break
			}
			if rest, ok := strings.CutPrefix(m.Path, key); ok && (rest == "" || rest[0] == '[') {
				m.Path = key + "s" + rest
			}
		}
	}
	return c.Cluster, d.err()
}

// renameArrays renames the arrays of a cluster to the names in the file, and removes the cluster's own name.
func (d *decoder) renameArrays(n *tree.Node) {
	for _, key := range []string{"level", "check"} {
		if wrong := n.Get(key); wrong != nil {
			d.errorAtKey(wrong, "unknown key %s, did you mean %ss?", key, key)
			d.markSuggested(n, key)
			n.Delete(key)
		}
		if right := n.Get(key + "s"); right != nil {
			right.Name = key
		}
	}
	if own := n.Get("name"); own != nil {
		if own.Value != n.Name {
			d.errorAt(own, "want %s, got %s", n.Name, own.Describe())
		}
		n.Delete("name")
	}
}

// validateCheckServers rejects levels without a server that a check names.
func (d *decoder) validateCheckServers(n *tree.Node, c *Cluster) {
	for _, k := range c.Checks {
		for _, name := range k.ServerNames {
			if c.Server(name) == nil && !c.Discovers() {
				d.errorAt(n, "check %s names server %q, which is in no level", k.ID, name)
			}
		}
	}
}

// parseJSON parses a request. Its error is of type Errors.
func parseJSON(text []byte) (*tree.Node, error) {
	n, errs := tree.ParseJSON(text)
	if len(errs) > 0 {
		return nil, Errors(errs)
	}
	return n, nil
}

// parseObject is parseJSON for a JSON object.
func parseObject(text []byte) (*tree.Node, error) {
	n, err := parseJSON(text)
	if err == nil && n.Kind != tree.Table {
		err = Errors{n.File.Diagnostic(n.Offset, "", "want a JSON object, got "+n.Describe())}
	}
	return n, err
}

// err returns the errors of a request, of type Errors, or nil.
func (d *decoder) err() error {
	if len(d.errs) == 0 {
		return nil
	}
	return Errors(sortDiagnostics(d.errs, nil))
}
