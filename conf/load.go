package conf

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"weir/conf/internal/tree"
)

// MaxFileSize limits a configuration file, and the files that it includes together, in bytes.
const MaxFileSize = tree.MaxFileSize

// Load reads a configuration file, which must be a regular file, so that reading does not block, and the files that it
// includes. The error is of type Errors and holds all errors. A file that changes while it is read is read again, up to
// 20 times.
func Load(path string) (*Config, error) { return LoadWith(path, nil) }

// LoadWith is Load with a shared configuration in place of the listeners and clusters of the files, unless it is nil.
func LoadWith(path string, shared *Shared) (*Config, error) {
	r := newReader()
	text, err := r.read(path, false)
	if err != nil {
		return nil, Errors{{File: path, Msg: err.Error()}}
	}
	return parse(path, path, text, shared, r, (*decoder).included)
}

// Parse is Load for a text. name stands for it in messages, and includes are relative to the directory of name.
func Parse(name string, text []byte) (*Config, error) {
	return parse(name, name, text, nil, newReader(), (*decoder).included)
}

// includer returns the files that patterns in the file main include. main stands at the path at.
type includer func(d *decoder, main, at string, patterns []*tree.Node) []string

// parse is Parse for a file that stands at the path at. shared replaces its listeners and clusters, unless it is nil or the
// file does not share a configuration with the fleet that has it. r reads the files that included returns.
func parse(name, at string, text []byte, shared *Shared, r reader, included includer) (*Config, error) {
	c, err := parseWith(name, at, text, shared, r, included)
	if err != nil || shared == nil || c.SharesConfig() && (shared.Prefix == "" || shared.Prefix == c.Fleet.Prefix) {
		return c, err
	}
	if r.files != nil {
		r.files.Included = nil
	}
	return parseWith(name, at, text, nil, r, included)
}

// parseWith is parse with shared in any case.
func parseWith(name, at string, text []byte, shared *Shared, r reader, included includer) (*Config, error) {
	d := newDecoder()
	d.shared = shared
	var all draft
	d.file(name, text, &all)
	size := 0
	for _, path := range included(d, name, at, all.include) {
		text, err := r.read(path, false)
		if size += len(text); size > MaxFileSize {
			text, err = nil, fmt.Errorf("the included files are larger than %d MB together", MaxFileSize>>20)
		}
		if err != nil {
			d.files = append(d.files, &tree.File{Name: path})
			d.errs = append(d.errs, Diagnostic{File: path, Msg: err.Error()})
			if size > MaxFileSize || d.tooManyErrors() {
				break
			}
			continue
		}
		if r.files != nil {
			r.files.Included = append(r.files.Included, SourceFile{path, string(text)})
		}
		d.file(path, text, &all)
	}
	if shared != nil {
		d.decodeShared(shared, &all)
	}
	if !d.tooManyErrors() {
		d.linkReferences(&all)
	}
	if len(d.errs) > 0 {
		return nil, Errors(sortDiagnostics(d.errs, d.files))
	}
	c := all.config()
	c.File, c.Shared = name, shared
	c.named = d.named
	c.positions = all.positions()
	c.Warnings = sortDiagnostics(d.warnings, d.files)
	c.Notes = sortDiagnostics(d.notes, d.files)
	return c, nil
}

// draft is the content of the files before references are linked.
type draft struct {
	roots     []*tree.Node // of the main file, then of the included files
	runtime   Runtime
	log       Log
	admin     adminDraft
	fleet     fleetDraft
	listeners []listenerDraft
	clusters  []clusterDraft
	hooks     []hookDraft
	vips      []vipDraft
	include   []*tree.Node          // patterns
	setOnce   map[string]*tree.Node // the keys of [runtime], [log], [admin] and [fleet] that a file has set
}

func rootKeys() []key[draft] {
	return []key[draft]{
		{
			name: "include", typeText: "list of patterns", defaultText: "[]",
			doc:    "More files to load, such as `\"conf.d/*.toml\"`, relative to the directory of this file.",
			decode: decodeInclude,
		},
		table("runtime", "Settings of the process.", func(d *decoder, n *tree.Node, into *draft) {
			decodeOnce(d, n, d.schema.runtime, &into.runtime, into)
		}),
		table("log", "What is logged and where.", func(d *decoder, n *tree.Node, into *draft) {
			decodeOnce(d, n, d.schema.log, &into.log, into)
		}).withAliases("logging", "logs"),
		table("admin", "Where the API is served.", func(d *decoder, n *tree.Node, into *draft) {
			into.admin.Explicit = true
			decodeOnce(d, n, d.schema.admin, &into.admin, into)
		}).withAliases("api", "stats", "management"),
		table("fleet", "What this weir shares with others.", func(d *decoder, n *tree.Node, into *draft) {
			if into.fleet.node == nil {
				into.fleet.node = n
			}
			decodeOnce(d, n, d.schema.fleet, &into.fleet, into)
		}).withAliases("shared", "etcd", "peers"),
		tables("listener", "Addresses that accept clients.", func(d *decoder, n *tree.Node, into *draft) {
			l := listenerDraft{node: n}
			decodeTable(d, n, d.schema.listener, &l)
			finishListener(d, n, &l)
			into.listeners = append(into.listeners, l)
		}).withAliases("listen", "listeners", "bind", "server", "vserver", "entrypoint"),
		{
			name: "cluster", typeText: "tables by name", doc: "Servers: one `[cluster.NAME]` table per cluster.",
			aliases: []string{"clusters"},
			decode:  decodeClusters,
		},
		tables("event", "Event hooks: programs and URLs that receive events.", decodeHook).withAliases("events", "hook", "hooks", "notify", "webhook"),
		tables("vip", "Addresses of this host that exist only while weir can serve: see [below](#vip).", decodeVIP).withAliases("vips", "virtual_ipaddress", "vrrp_instance"),
	}
}

// suggested reports whether name was suggested for a misspelt top-level table of any file.
func (all *draft) suggested(d *decoder, name string) bool {
	return slices.ContainsFunc(all.roots, func(root *tree.Node) bool { return d.suggested[root][name] })
}

// file decodes one text into the draft.
func (d *decoder) file(name string, text []byte, into *draft) {
	f := textFile(name, text)
	d.files = append(d.files, f)
	root, errs, incomplete := tree.ParseTOML(f)
	d.errs = append(d.errs, errs...)
	d.incomplete = d.incomplete || incomplete
	into.roots = append(into.roots, root)
	if d.shared != nil {
		d.dropShared(root)
	}
	if len(into.roots) == 1 {
		setDefaults(d.schema.runtime, &into.runtime)
		setDefaults(d.schema.log, &into.log)
		setDefaults(d.schema.admin, &into.admin)
		setDefaults(d.schema.fleet, &into.fleet)
	} else if n := root.Get("include"); n != nil {
		d.errorAtKey(n, "only the main file may include files; %s is an included file", name)
		root.Delete("include")
	}
	decodeTable(d, root, d.schema.root, into)
}

// textFile returns a text as a file.
func textFile(name string, text []byte) *tree.File {
	f := &tree.File{Name: name, Text: bytes.TrimPrefix(text, []byte("\ufeff"))} // without the byte order mark that editors on Windows add
	if len(f.Text) > 0 && f.Text[len(f.Text)-1] != '\n' {
		f.Text = append(bytes.Clone(f.Text), '\n') // so that every syntax error is in a line
	}
	return f
}

// decodeOnce decodes a table that may be split over files, each key only once.
func decodeOnce[T any](d *decoder, n *tree.Node, keys []key[T], into *T, all *draft) {
	if all.setOnce == nil {
		all.setOnce = make(map[string]*tree.Node)
	}
	decodePresent(d, n, keys, into)
	for _, c := range n.Keys {
		if old := all.setOnce[c.Path()]; old != nil {
			d.errorAtKey(c, "duplicate key %s (%s)", tree.QuoteKey(c.Name), lines(old, c))
		}
		all.setOnce[c.Path()] = c
	}
}

func decodeInclude(d *decoder, n *tree.Node, into *draft) {
	for _, e := range d.list(n, "patterns such as [\"conf.d/*.toml\"]") {
		if s, ok := e.Value.(string); !ok || s == "" {
			d.errorAt(e, "want a pattern such as \"conf.d/*.toml\", got %s", e.Describe())
			continue
		}
		into.include = append(into.include, e)
	}
}

// maxIncluded limits the files of one configuration.
const maxIncluded = 1000

// included returns the files that match, each once and never the main file, in the order of the patterns and by name
// within one pattern. A file that has several names, such as links to it, counts as one.
func (d *decoder) included(main, at string, patterns []*tree.Node) []string {
	var paths []string
	var taken []fs.FileInfo
	g := globber{left: maxGlobNames}
	for _, path := range []string{main, at} {
		if info, err := os.Stat(path); err == nil {
			taken = append(taken, info)
		}
	}
	for _, n := range patterns {
		pattern := n.Value.(string)
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(escapePattern(filepath.Dir(at)), pattern)
		}
		matches, err := g.glob(pattern)
		if err != nil {
			d.errorAt(n, "%s %s", n.Describe(), err)
			continue
		}
		for _, m := range matches {
			if info, err := os.Stat(m); err == nil {
				if slices.ContainsFunc(taken, func(old fs.FileInfo) bool { return os.SameFile(old, info) }) {
					continue
				}
				taken = append(taken, info)
			}
			if paths = append(paths, m); len(paths) > maxIncluded {
				d.errorAt(n, "more than %d files included", maxIncluded)
				return nil
			}
		}
	}
	return paths
}

// config returns the specification of a draft without errors.
func (all *draft) config() *Config {
	c := &Config{Runtime: all.runtime, Log: all.log, Admin: all.admin.Admin}
	if all.fleet.node != nil {
		c.Fleet = &all.fleet.Fleet
	}
	for _, l := range all.listeners {
		c.Listeners = append(c.Listeners, l.Listener)
	}
	for _, k := range all.clusters {
		c.Clusters = append(c.Clusters, k.Cluster)
	}
	for _, h := range all.hooks {
		c.Hooks = append(c.Hooks, h.Hook)
	}
	for _, v := range all.vips {
		c.VIPs = append(c.VIPs, v.VIP)
	}
	return c
}
