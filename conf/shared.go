package conf

// The configuration that the nodes of a fleet share: listeners and clusters. Everything else is in the file of each node.

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"weir/conf/internal/tree"
)

// Shared is the part of a configuration that a fleet shares.
type Shared struct {
	Prefix   string // of the fleet that has it; "" = any
	Revision int    // in the store; 0 = it is not stored yet
	Name     string // stands for the text in messages, without Revision
	Text     []byte // TOML
}

// sharedTables are the tables of a Shared. Those of the file are not used while there is one.
var sharedTables = []string{"listener", "cluster"}

// dropShared removes from a file of a node what the shared configuration replaces.
func (d *decoder) dropShared(root *tree.Node) {
	for _, name := range sharedTables {
		n := root.Get(name)
		if n == nil {
			continue
		}
		in := "a shared configuration"
		if d.shared.Revision > 0 {
			in = fmt.Sprintf("revision %d of the shared configuration", d.shared.Revision)
		}
		d.warnings = append(d.warnings, n.File.Diagnostic(n.KeyOffset, n.Path(), fmt.Sprintf("not used: %s is in force", in)))
		root.Delete(name)
	}
}

// decodeShared decodes a shared configuration into the draft of the node's file.
func (d *decoder) decodeShared(s *Shared, into *draft) {
	f := textFile(s.Name, s.Text)
	if f.Revision = s.Revision; s.Revision > 0 {
		f.Name = fmt.Sprintf("revision %d", s.Revision)
	}
	d.files = append(d.files, f)
	root, errs, incomplete := tree.ParseTOML(f)
	d.errs = append(d.errs, errs...)
	d.incomplete = d.incomplete || incomplete
	into.roots = append(into.roots, root)
	for _, n := range slices.Clone(root.Keys) {
		own := slices.ContainsFunc(d.schema.root, func(k key[draft]) bool { return k.name == n.Name })
		switch {
		case n.Name == "include":
			d.errorAtKey(n, "a shared configuration is one text and includes no files")
		case own && !slices.Contains(sharedTables, n.Name):
			d.errorAtKey(n, "%s belongs to the file of each node; a shared configuration has listeners and clusters", tree.QuoteKey(n.Name))
		default:
			d.validateShared(n, into.admin.AllowPrograms)
			continue
		}
		root.Delete(n.Name)
	}
	decodeTable(d, root, d.schema.root, into)
}

// validateShared rejects what must not be in a shared configuration: secrets, files whose place depends on a directory,
// and programs unless this node allows them.
func (d *decoder) validateShared(n *tree.Node, programs bool) {
	text, _ := n.Value.(string)
	parent := ""
	if n.Parent != nil {
		parent = n.Parent.Name
	}
	switch {
	case n.Name == "password" && text != "":
		d.errorAtKey(n, "a shared configuration has no secrets; use password_file or password_env")
	case parent == "headers" && (secretHeader(n.Name) || n.Name == "" && secretHeader(beforeColon(text))):
		d.errorAt(n, "a shared configuration has no secrets such as this header")
	case n.Name == "url" && secretURL(text):
		d.errorAt(n, "a shared configuration has no secrets such as those of this URL")
	case (strings.HasSuffix(n.Name, "_file") || n.Name == "path" && parent == "discover") && text != "" && !filepath.IsAbs(text):
		d.errorAt(n, "want an absolute path in a shared configuration, got %s", n.Describe())
	case strings.HasPrefix(text, "unix:") && isWithin(n, "cluster") && !programs:
		d.errorAt(n, "a shared configuration may have servers at unix sockets only with allow_programs = true in [admin] of the node")
	case n.Name == "type" && text == "exec" && !programs:
		d.errorAt(n, "a shared configuration may run programs only with allow_programs = true in [admin] of the node")
	}
	for _, list := range [][]*tree.Node{n.Keys, n.Items} {
		for _, c := range list {
			d.validateShared(c, programs)
		}
	}
}

// isWithin reports whether a node is below the table of the file with a name.
func isWithin(n *tree.Node, table string) bool {
	for ; n != nil; n = n.Parent {
		if n.Parent != nil && n.Parent.Parent == nil && n.Name == table {
			return true
		}
	}
	return false
}

// secretWords are parts of the names of headers and URL parameters that hold secrets.
var secretWords = []string{"authorization", "cookie", "token", "secret", "password", "passwd", "api-key", "apikey", "api_key", "signature"}

func secretHeader(name string) bool {
	return slices.ContainsFunc(secretWords, func(word string) bool { return strings.Contains(strings.ToLower(name), word) })
}

func beforeColon(line string) string {
	name, _, _ := strings.Cut(line, ":")
	return name
}

// secretURL reports whether a URL has a password or a parameter with a secret.
func secretURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false // reported when it is decoded
	}
	_, password := u.User.Password()
	for name := range u.Query() {
		password = password || secretHeader(name)
	}
	return password
}
