package conf

import (
	"fmt"
	"strings"

	"weir/conf/internal/tree"
)

// decoder gathers mistakes while the nodes of one or more files become a configuration.
type decoder struct {
	schema     schema
	files      []*tree.File
	errs       []Diagnostic
	warnings   []Diagnostic
	incomplete bool // part of a file could not be parsed: what seems missing may only be unseen

	// suggested holds, per table, the legal names that misspelt ones were taken for, so that nobody is told both that
	// "adress" is unknown and that address is missing.
	suggested map[*tree.Node]map[string]bool

	// Looking for the nearest of many names costs time that a hostile file must not be able to ask for without end.
	comparisons int
}

// Limits on the work that goes into mistakes.
const (
	maxErrors      = 20 * maxDiagnostics // after which decoding stops
	maxComparisons = 1 << 20             // of names, for suggestions
)

// tooManyErrors tells that there are more mistakes than anybody will read.
func (d *decoder) tooManyErrors() bool { return len(d.errs) >= maxErrors }

// suggest is the tail of a message about a reference to nothing: the nearest of the names that exist.
func suggest[V any](d *decoder, word string, names map[string]V) string {
	if d.comparisons += len(names); d.comparisons > maxComparisons {
		return ""
	}
	return didYouMean(nearest(word, sortedKeys(names), nil))
}

func newDecoder() *decoder {
	return &decoder{schema: newSchema(), suggested: make(map[*tree.Node]map[string]bool)}
}

// errorAt reports a mistake at a value.
func (d *decoder) errorAt(n *tree.Node, format string, args ...any) {
	d.addError(n, n.Offset, format, args...)
}

// errorAtKey reports a mistake at a key.
func (d *decoder) errorAtKey(n *tree.Node, format string, args ...any) {
	d.addError(n, n.KeyOffset, format, args...)
}

func (d *decoder) addError(n *tree.Node, off int, format string, args ...any) {
	if !d.tooManyErrors() {
		d.errs = append(d.errs, n.File.Diagnostic(off, n.Path(), fmt.Sprintf(format, args...)))
	}
}

// errorMissing reports that a table lacks something, unless a misspelt key was meant to be it or the file is partly unread.
func (d *decoder) errorMissing(n *tree.Node, name, format string, args ...any) {
	if d.incomplete || n.Incomplete || d.suggested[n][name] {
		return
	}
	at := n
	if n.File.JSON { // there are no lines to look at: whoever asked is told of a field
		at = &tree.Node{File: n.File, Parent: n, Name: name, Offset: n.Offset}
	}
	d.errorAt(at, format, args...)
}

func (d *decoder) warn(n *tree.Node, format string, args ...any) {
	d.warnings = append(d.warnings, n.File.Diagnostic(n.Offset, n.Path(), fmt.Sprintf(format, args...)))
}

// lines names the lines of two places: "lines 3 and 7", or with the files where they differ.
func lines(a, b *tree.Node) string {
	x, y := a.File.Line(a.Offset), b.File.Line(b.Offset)
	if a.File == b.File {
		return fmt.Sprintf("lines %d and %d", x, y)
	}
	return fmt.Sprintf("%s:%d and %s:%d", a.File.Name, x, b.File.Name, y)
}

// Line names the line of a place, seen from another.
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

// decodeTable fills into from a table: defaults first, then the keys in the order of the schema.
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
		for _, c := range n.Keys {
			if given[c.Name] == c && !d.tooManyErrors() {
				d.unknown(n, c, keyNames(keys), keyWords(keys))
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
	if s := nearest(c.Name, legal, words); s != "" {
		msg += ", did you mean " + s + "?"
		d.markSuggested(in, s)
	}
	d.errorAtKey(c, "%s", msg)
}

// markSuggested excuses the absence of a name from a table.
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

// tablePath is a node's path as it stands in a table header, without indexes.
func tablePath(n *tree.Node) string {
	var parts []string
	for ; n.Parent != nil; n = n.Parent {
		if n.Parent.Kind != tree.List {
			parts = append([]string{tree.QuoteKey(n.Name)}, parts...)
		}
	}
	return strings.Join(parts, ".")
}

// gotTable tells what stands where a table should, as its header if it has one.
func gotTable(n *tree.Node) string {
	switch {
	case n.Kind == tree.Table:
		return "[" + tablePath(n) + "]"
	case n.Kind == tree.List && len(n.Items) > 0 && n.Items[0].Kind == tree.Table:
		return "[[" + tablePath(n) + "]]"
	}
	return n.Describe()
}
