package conf

import (
	"fmt"
	"slices"
	"strings"

	"weir/conf/internal/tree"
)

// decoder collects errors while the nodes of one or more files become a configuration.
type decoder struct {
	schema     schema
	files      []*tree.File
	errs       []Diagnostic
	warnings   []Diagnostic
	notes      []Diagnostic
	named      []string // paths of files that a start or a reload reads
	incomplete bool     // part of a file could not be parsed, so what seems missing may exist

	// suggested holds, per table, the legal names that were suggested for misspelt ones, so that "adress" is not
	// reported both as unknown and as a missing address.
	suggested map[*tree.Node]map[string]bool

	shared *Shared // replaces listeners and clusters of the file; nil = none

	owners map[string][]string // kinds of tables by key; see keyOwners

	// Comparing names costs time, which a hostile file must not be able to use without limit.
	comparisons int
}

// Limits on the work for a text with many errors, which may come from a client of the API.
const (
	maxErrors      = 4 * maxDiagnostics // after this many, decoding stops
	maxComparisons = 1 << 17            // name comparisons for suggestions
)

// tooManyErrors reports whether so many errors were found that decoding stops.
func (d *decoder) tooManyErrors() bool { return len(d.errs) >= maxErrors }

// suggest returns the end of a message about an undefined name: the nearest of the names that exist.
func suggest[V any](d *decoder, word string, names map[string]V) string {
	if !d.mayCompare(len(names)) {
		return ""
	}
	return didYouMean(nearest(word, sortedKeys(names), nil))
}

// mayCompare reports whether a name may be compared with n others.
func (d *decoder) mayCompare(n int) bool {
	d.comparisons += n
	return d.comparisons <= maxComparisons
}

func newDecoder() *decoder {
	return &decoder{schema: newSchema(), suggested: make(map[*tree.Node]map[string]bool)}
}

// errorAt reports an error at a value.
func (d *decoder) errorAt(n *tree.Node, format string, args ...any) {
	d.addError(n, n.Offset, format, args...)
}

// errorAtKey reports an error at a key.
func (d *decoder) errorAtKey(n *tree.Node, format string, args ...any) {
	d.addError(n, n.KeyOffset, format, args...)
}

func (d *decoder) addError(n *tree.Node, off int, format string, args ...any) {
	if !d.tooManyErrors() {
		d.errs = append(d.errs, n.File.Diagnostic(off, n.Path(), fmt.Sprintf(format, args...)))
	}
}

// errorMissing reports a missing key of a table, unless it was suggested for a misspelt key or part of the file is
// unread.
func (d *decoder) errorMissing(n *tree.Node, name, format string, args ...any) {
	if d.incomplete || n.Incomplete || d.suggested[n][name] {
		return
	}
	at := n
	if n.File.JSON { // a request has no useful lines: the path names the key instead
		at = &tree.Node{File: n.File, Parent: n, Name: name, Offset: n.Offset}
	}
	d.errorAt(at, format, args...)
}

func (d *decoder) warn(n *tree.Node, format string, args ...any) {
	d.warnings = append(d.warnings, n.File.Diagnostic(n.Offset, n.Path(), fmt.Sprintf(format, args...)))
}

// list returns the items of a list, and reports an error if n is not a list.
func (d *decoder) list(n *tree.Node, of string) []*tree.Node {
	if n.Kind != tree.List {
		d.errorAt(n, "want a list of %s, got %s", of, n.Describe())
	}
	return n.Items
}

// lines formats the lines of two nodes: "lines 3 and 7", or with the files if they differ.
func lines(a, b *tree.Node) string {
	x, y := a.File.Line(a.Offset), b.File.Line(b.Offset)
	if a.File == b.File {
		return fmt.Sprintf("lines %d and %d", x, y)
	}
	return fmt.Sprintf("%s:%d and %s:%d", a.File.Name, x, b.File.Name, y)
}

// line formats the line of a node, with the file if it is not that of from.
func line(of, from *tree.Node) string {
	x := of.File.Line(of.Offset)
	if of.File == from.File {
		return fmt.Sprintf("line %d", x)
	}
	return fmt.Sprintf("%s:%d", of.File.Name, x)
}

// setDefaults sets all defaults.
func setDefaults[T any](keys []key[T], into *T) {
	for _, k := range keys {
		if k.setDefault != nil {
			k.setDefault(into)
		}
	}
}

// decodeTable decodes a table: defaults first, then the keys in the order of the schema.
func decodeTable[T any](d *decoder, n *tree.Node, keys []key[T], into *T) {
	setDefaults(keys, into)
	decodePresent(d, n, keys, into)
}

// decodePresent is decodeTable without the defaults.
func decodePresent[T any](d *decoder, n *tree.Node, keys []key[T], into *T) {
	given := make(map[string]*tree.Node, len(n.Keys))
	for _, c := range n.Keys {
		given[c.Name] = c
	}
	for _, k := range keys {
		if c := given[k.name]; c != nil && !d.tooManyErrors() {
			k.decode(d, c, into)
			delete(given, k.name)
		}
	}
	if len(given) > 0 {
		legal, words := keyNames(keys), keyWords(keys)
		for _, c := range n.Keys {
			if given[c.Name] == c && !d.tooManyErrors() {
				d.unknown(n, c, legal, words)
			}
		}
	}
	if n.Kind != tree.Table {
		return // reported already
	}
	for _, k := range keys {
		if k.isRequired && n.Get(k.name) == nil {
			d.errorMissing(n, k.name, "missing key %s", k.name)
		}
	}
}

// unknown reports a key or table that the schema does not have.
func (d *decoder) unknown(in, c *tree.Node, legal []string, words map[string]string) {
	what := "key"
	if c.Kind == tree.Table || c.Kind == tree.List && len(c.Items) > 0 && c.Items[0].Kind == tree.Table {
		what = "table"
	}
	msg := "unknown " + what + " " + tree.QuoteKey(c.Name)
	owner := ""
	if words[c.Name] == "" && !slices.Contains(legal, fold(c.Name)) {
		owner = d.ownerOf(in, c.Name)
	}
	if owner != "" {
		msg += "; it belongs to " + owner
	} else if s := d.nearest(c.Name, legal, words); s != "" {
		msg += ", did you mean " + s + "?"
		d.markSuggested(in, s)
	}
	d.errorAtKey(c, "%s", msg)
}

// nearest is the function nearest within the limit on comparisons. A word of another program costs none.
func (d *decoder) nearest(word string, legal []string, words map[string]string) string {
	if meant := words[word]; meant != "" || !d.mayCompare(len(legal)+len(words)) {
		return meant
	}
	return nearest(word, legal, words)
}

// markSuggested records that a name was suggested for a key of a table.
func (d *decoder) markSuggested(in *tree.Node, name string) {
	if d.suggested[in] == nil {
		d.suggested[in] = make(map[string]bool)
	}
	d.suggested[in][name] = true
}

func keyNames[T any](keys []key[T]) []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return names
}

func keyWords[T any](keys []key[T]) map[string]string {
	words := make(map[string]string)
	for _, k := range keys {
		for _, w := range k.aliases {
			words[w] = k.name
		}
	}
	return words
}

// tablePath returns a node's path as in a table header, without indexes.
func tablePath(n *tree.Node) string {
	var parts []string
	for ; n.Parent != nil; n = n.Parent {
		if n.Parent.Kind != tree.List {
			parts = append([]string{tree.QuoteKey(n.Name)}, parts...)
		}
	}
	return strings.Join(parts, ".")
}

// gotTable describes what is found in place of a table, as its header if it has one.
func gotTable(n *tree.Node) string {
	switch {
	case n.Kind == tree.Table:
		return "[" + tablePath(n) + "]"
	case n.Kind == tree.List && len(n.Items) > 0 && n.Items[0].Kind == tree.Table:
		return "[[" + tablePath(n) + "]]"
	}
	return n.Describe()
}
