package conf

import (
	"fmt"
	"strings"
)

// decoder gathers mistakes while the nodes of one or more files become a configuration.
type decoder struct {
	schema   schema
	files    []*file
	mistakes []Diagnostic
	warnings []Diagnostic
	partial  bool // part of a file could not be parsed: what seems missing may only be unseen

	// meant holds, per table, the legal names that misspelt ones were taken for, so that nobody is told both that
	// "adress" is unknown and that address is missing.
	meant map[*node]map[string]bool

	// Looking for the nearest of many names costs time that a hostile file must not be able to ask for without end.
	comparisons int
}

// Limits on the work that goes into mistakes.
const (
	maxFound       = 20 * maxMistakes // after which decoding stops
	maxComparisons = 1 << 20          // of names, for suggestions
)

// full tells that there are more mistakes than anybody will read.
func (d *decoder) full() bool { return len(d.mistakes) >= maxFound }

// suggest is the tail of a message about a reference to nothing: the nearest of the names that exist.
func suggest[V any](d *decoder, word string, names map[string]V) string {
	if d.comparisons += len(names); d.comparisons > maxComparisons {
		return ""
	}
	return maybe(nearest(word, sortedKeys(names), nil))
}

func newDecoder() *decoder {
	return &decoder{schema: newSchema(), meant: make(map[*node]map[string]bool)}
}

// fault reports a mistake at a value.
func (d *decoder) fault(n *node, format string, args ...any) {
	d.note(n, n.at, format, args...)
}

// faultKey reports a mistake at a key.
func (d *decoder) faultKey(n *node, format string, args ...any) {
	d.note(n, n.key, format, args...)
}

func (d *decoder) note(n *node, off int, format string, args ...any) {
	if !d.full() {
		d.mistakes = append(d.mistakes, n.file.mistake(off, n.path(), fmt.Sprintf(format, args...)))
	}
}

// absent reports that a table lacks something, unless a misspelt key was meant to be it or the file is partly unread.
func (d *decoder) absent(n *node, name, format string, args ...any) {
	if d.partial || n.lost || d.meant[n][name] {
		return
	}
	at := n
	if n.file.request { // there are no lines to look at: whoever asked is told of a field
		at = &node{file: n.file, parent: n, name: name, at: n.at}
	}
	d.fault(at, format, args...)
}

func (d *decoder) warn(n *node, format string, args ...any) {
	d.warnings = append(d.warnings, n.file.mistake(n.at, n.path(), fmt.Sprintf(format, args...)))
}

// lines names the lines of two places: "lines 3 and 7", or with the files where they differ.
func lines(a, b *node) string {
	x, y := a.file.line(a.at), b.file.line(b.at)
	if a.file == b.file {
		return fmt.Sprintf("lines %d and %d", x, y)
	}
	return fmt.Sprintf("%s:%d and %s:%d", a.file.name, x, b.file.name, y)
}

// line names the line of a place, seen from another.
func line(of, from *node) string {
	x := of.file.line(of.at)
	if of.file == from.file {
		return fmt.Sprintf("line %d", x)
	}
	return fmt.Sprintf("%s:%d", of.file.name, x)
}

// presets sets all defaults.
func presets[T any](keys []key[T], into *T) {
	for _, k := range keys {
		if k.preset != nil {
			k.preset(into)
		}
	}
}

// decodeTable fills into from a table: defaults first, then the keys in the order of the schema.
func decodeTable[T any](d *decoder, n *node, keys []key[T], into *T) {
	presets(keys, into)
	decodeGiven(d, n, keys, into)
}

// decodeGiven is decodeTable without the defaults.
func decodeGiven[T any](d *decoder, n *node, keys []key[T], into *T) {
	given := make(map[string]*node, len(n.keys))
	for _, c := range n.keys {
		given[c.name] = c
	}
	for _, k := range keys {
		if c := given[k.name]; c != nil && !d.full() {
			k.decode(d, c, into)
			delete(given, k.name)
		}
	}
	if len(given) > 0 {
		for _, c := range n.keys {
			if given[c.name] == c && !d.full() {
				d.unknown(n, c, keyNames(keys), keyWords(keys))
			}
		}
	}
	if n.kind != nodeTable {
		return // reported already
	}
	for _, k := range keys {
		if k.need && n.get(k.name) == nil {
			d.absent(n, k.name, "missing key %s", k.name)
		}
	}
}

// unknown reports a key or table that the schema does not have.
func (d *decoder) unknown(in, c *node, legal []string, words map[string]string) {
	what := "key"
	if c.kind == nodeTable || c.kind == nodeList && len(c.items) > 0 && c.items[0].kind == nodeTable {
		what = "table"
	}
	msg := "unknown " + what + " " + quoteName(c.name)
	if s := nearest(c.name, legal, words); s != "" {
		msg += ", did you mean " + s + "?"
		d.seen(in, s)
	}
	d.faultKey(c, "%s", msg)
}

// seen excuses the absence of a name from a table.
func (d *decoder) seen(in *node, name string) {
	if d.meant[in] == nil {
		d.meant[in] = make(map[string]bool)
	}
	d.meant[in][name] = true
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
		for _, w := range k.words {
			words[w] = k.name
		}
	}
	return words
}

// tablePath is a node's path as it stands in a table header, without indexes.
func tablePath(n *node) string {
	var parts []string
	for ; n.parent != nil; n = n.parent {
		if n.parent.kind != nodeList {
			parts = append([]string{quoteName(n.name)}, parts...)
		}
	}
	return strings.Join(parts, ".")
}

// gotTable tells what stands where a table should, as its header if it has one.
func gotTable(n *node) string {
	switch {
	case n.kind == nodeTable:
		return "[" + tablePath(n) + "]"
	case n.kind == nodeList && len(n.items) > 0 && n.items[0].kind == nodeTable:
		return "[[" + tablePath(n) + "]]"
	}
	return n.got()
}
