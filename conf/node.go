package conf

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// node is a value of the file together with where it stands. The decoder knows nothing else, so that values which come
// in another notation need only another way to make nodes.
type node struct {
	file  *file
	at    int // offset of the value
	key   int // offset of its key
	value any // string, int64, float64, bool or time.Time; nil for tables and lists

	kind nodeKind
	lost bool // a table from which a key that could not be parsed was left out
	word bool // part of a server's string form, where numbers, too, are written as text

	parent *node
	name   string // the key, or
	index  int    // the index in a list
	keys   []*node
	items  []*node
}

type nodeKind uint8

const (
	nodeScalar nodeKind = iota
	nodeTable
	nodeList
)

func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for _, k := range n.keys {
		if k.name == name {
			return k
		}
	}
	return nil
}

// drop forgets a key of a table.
func (n *node) drop(name string) {
	n.keys = slices.DeleteFunc(n.keys, func(k *node) bool { return k.name == name })
}

// path is the dotted key from the top of the file.
func (n *node) path() string {
	if n.parent == nil {
		return ""
	}
	up := n.parent.path()
	switch {
	case n.parent.kind == nodeList:
		return up + "[" + strconv.Itoa(n.index) + "]"
	case up == "":
		return quoteName(n.name)
	}
	return up + "." + quoteName(n.name)
}

// quoteName writes a key as it has to be written in TOML.
func quoteName(s string) string {
	if len(s) > 64 {
		s = s[:61] + "…"
	}
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "" {
		return s
	}
	return strconv.Quote(s)
}

// got tells what a node holds, for messages.
func (n *node) got() string {
	switch n.kind {
	case nodeTable:
		return "a table"
	case nodeList:
		return "a list"
	}
	switch v := n.value.(type) {
	case string:
		return quoteText(v)
	case time.Time, float64: // as written: 1e3 is no integer, and 1000 would not show it
		return n.written()
	default:
		return fmt.Sprint(v)
	}
}

// written is a number or a date as it stands in the text. A JSON value's place is that of its end.
func (n *node) written() string {
	text := n.file.text[min(n.at, len(n.file.text)):]
	if n.file.request {
		return fmt.Sprint(n.value)
	}
	if i := bytes.IndexAny(text, " \t\r\n,]}#"); i >= 0 {
		text = text[:i]
	}
	return string(text[:min(len(text), maxWritten)])
}

// maxWritten is more than a number or date has that is one.
const maxWritten = 40

// quoteText quotes a value for a message, cut to a length that fits a line.
func quoteText(s string) string {
	const most = 80
	if len(s) <= most {
		return strconv.Quote(s)
	}
	cut := most
	for cut > 0 && s[cut]&0xc0 == 0x80 {
		cut--
	}
	return strconv.Quote(s[:cut]) + "…"
}

// join puts values and places together.
func join(f *file, value any, at *place, parent *node) *node {
	n := &node{file: f, parent: parent}
	switch {
	case at != nil:
		n.at, n.key, n.lost = int(at.at), int(at.key), at.lost
	case parent != nil:
		n.at, n.key = parent.at, parent.key
	}
	switch v := value.(type) {
	case map[string]any:
		n.kind = nodeTable
		n.keys = make([]*node, 0, len(v))
		for _, name := range sortedKeys(v) {
			c := join(f, v[name], at.child(name), n)
			c.name = name
			n.keys = append(n.keys, c)
		}
		slices.SortStableFunc(n.keys, func(a, b *node) int { return cmp.Compare(a.key, b.key) })
	case []map[string]any:
		n.kind = nodeList
		for i, e := range v {
			n.items = append(n.items, join(f, e, at.item(i), n))
			n.items[i].index = i
		}
	case []any:
		n.kind = nodeList
		for i, e := range v {
			n.items = append(n.items, join(f, e, at.item(i), n))
			n.items[i].index = i
		}
	default:
		n.value = v
	}
	return n
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

// parseText makes the tree of a text. The mistakes are those of the syntax; the tree holds what was left of it.
func parseText(f *file) (root *node, found []Diagnostic, partial bool) {
	if off, reason := guard(f.text); reason != "" {
		return &node{file: f, kind: nodeTable}, []Diagnostic{f.mistake(off, "", reason)}, true
	}
	s := surveyText(f)
	budget := 64 << 20 // bytes to parse, over all rounds
	for {
		values, err := decodeText(s.clean)
		if err == nil {
			return join(f, values, s.root, nil), s.found, s.partial
		}
		again := s.refused(err)
		if budget -= len(s.clean); !again || budget < 0 || len(s.found) >= maxSyntaxMistakes {
			return &node{file: f, kind: nodeTable}, s.found, true
		}
	}
}

func decodeText(text []byte) (values map[string]any, err error) {
	defer func() {
		if r := recover(); r != nil { // the library promises none; a configuration must not end the process
			err = fmt.Errorf("cannot be parsed: %v", r)
		}
	}()
	_, err = toml.Decode(string(text), &values)
	return values, err
}

// refused notes a mistake that only the decoding parser found and takes the expression out; false if it cannot.
func (s *survey) refused(err error) bool {
	var perr toml.ParseError
	if !errors.As(err, &perr) {
		s.found = append(s.found, s.file.mistake(0, "", err.Error()))
		return false
	}
	off := min(perr.Position.Start, len(s.clean))
	msg := perr.Message
	if msg != "" {
		msg = strings.ToLower(msg[:1]) + msg[1:]
	}
	i, hit := slices.BinarySearchFunc(s.spans, off, func(x span, off int) int {
		switch {
		case x.end < off:
			return -1
		case x.start > off:
			return 1
		}
		return 0
	})
	if !hit {
		i = max(0, i-1) // just behind an expression
	}
	path := ""
	if i < len(s.spans) && !s.spans[i].header {
		path = s.pathOf(s.spans[i].start, s.spans[i].prefix)
	}
	s.found = append(s.found, s.file.mistake(off, path, msg))
	if i >= len(s.spans) {
		return false
	}
	from, to := s.spans[i].start, s.spans[i].end
	if s.spans[i].header {
		to = len(s.clean)
		for _, next := range s.spans[i+1:] {
			if next.header {
				to = next.start
				break
			}
		}
	}
	before := string(s.clean[from:to])
	s.blank(from, to)
	return before != string(s.clean[from:to])
}
