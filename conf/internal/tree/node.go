package tree

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

// Node is a value of the file together with where it stands. The decoder knows nothing else, so that values which come
// in another notation need only another way to make nodes.
type Node struct {
	File      *File
	Offset    int // offset of the value
	KeyOffset int // offset of its key
	Value     any // string, int64, float64, bool or time.Time; nil for tables and lists

	Kind       Kind
	Incomplete bool // a table from which a key that could not be parsed was left out
	InString   bool // part of a server's string form, where numbers, too, are written as text

	Parent *Node
	Name   string // the key, or
	Index  int    // the index in a list
	Keys   []*Node
	Items  []*Node
}

type Kind uint8

const (
	Scalar Kind = iota
	Table
	List
)

func (n *Node) Get(name string) *Node {
	if n == nil {
		return nil
	}
	for _, k := range n.Keys {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// Delete forgets a key of a table.
func (n *Node) Delete(name string) {
	n.Keys = slices.DeleteFunc(n.Keys, func(k *Node) bool { return k.Name == name })
}

// Path is the dotted key from the top of the file.
func (n *Node) Path() string {
	if n.Parent == nil {
		return ""
	}
	up := n.Parent.Path()
	switch {
	case n.Parent.Kind == List:
		return up + "[" + strconv.Itoa(n.Index) + "]"
	case up == "":
		return QuoteKey(n.Name)
	}
	return up + "." + QuoteKey(n.Name)
}

// QuoteKey writes a key as it has to be written in TOML.
func QuoteKey(s string) string {
	if len(s) > 64 {
		s = s[:61] + "…"
	}
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "" {
		return s
	}
	return strconv.Quote(s)
}

// Describe tells what a node holds, for messages.
func (n *Node) Describe() string {
	switch n.Kind {
	case Table:
		return "a table"
	case List:
		return "a list"
	}
	switch v := n.Value.(type) {
	case string:
		return Quote(v)
	case time.Time, float64: // as written: 1e3 is no integer, and 1000 would not show it
		return n.literal()
	default:
		return fmt.Sprint(v)
	}
}

// literal is a number or a date as it stands in the text. A JSON value's place is that of its end.
func (n *Node) literal() string {
	text := n.File.Text[min(n.Offset, len(n.File.Text)):]
	if n.File.JSON {
		return fmt.Sprint(n.Value)
	}
	if i := bytes.IndexAny(text, " \t\r\n,]}#"); i >= 0 {
		text = text[:i]
	}
	return string(text[:min(len(text), maxWritten)])
}

// maxWritten is more than a number or date has that is one.
const maxWritten = 40

// Quote quotes a value for a message, cut to a length that fits a line.
func Quote(s string) string {
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

// joinPositions puts values and places together.
func joinPositions(f *File, value any, at *position, parent *Node) *Node {
	n := &Node{File: f, Parent: parent}
	switch {
	case at != nil:
		n.Offset, n.KeyOffset, n.Incomplete = int(at.at), int(at.key), at.incomplete
	case parent != nil:
		n.Offset, n.KeyOffset = parent.Offset, parent.KeyOffset
	}
	switch v := value.(type) {
	case map[string]any:
		n.Kind = Table
		n.Keys = make([]*Node, 0, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			c := joinPositions(f, v[name], at.child(name), n)
			c.Name = name
			n.Keys = append(n.Keys, c)
		}
		slices.SortStableFunc(n.Keys, func(a, b *Node) int { return cmp.Compare(a.KeyOffset, b.KeyOffset) })
	case []map[string]any:
		n.Kind = List
		for i, e := range v {
			n.Items = append(n.Items, joinPositions(f, e, at.item(i), n))
			n.Items[i].Index = i
		}
	case []any:
		n.Kind = List
		for i, e := range v {
			n.Items = append(n.Items, joinPositions(f, e, at.item(i), n))
			n.Items[i].Index = i
		}
	default:
		n.Value = v
	}
	return n
}

// ParseTOML makes the tree of a text. The mistakes are those of the syntax; the tree holds what was left of it.
func ParseTOML(f *File) (root *Node, found []Diagnostic, partial bool) {
	if off, reason := checkLimits(f.Text); reason != "" {
		return &Node{File: f, Kind: Table}, []Diagnostic{f.Diagnostic(off, "", reason)}, true
	}
	s := locate(f)
	budget := 64 << 20 // bytes to parse, over all rounds
	for {
		values, err := decodeText(s.clean)
		if err == nil {
			return joinPositions(f, values, s.root, nil), s.errs, s.incomplete
		}
		again := s.decodeError(err)
		if budget -= len(s.clean); !again || budget < 0 || len(s.errs) >= maxSyntaxErrors {
			return &Node{File: f, Kind: Table}, s.errs, true
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

// decodeError notes a mistake that only the decoding parser found and takes the expression out; false if it cannot.
func (s *locator) decodeError(err error) bool {
	var perr toml.ParseError
	if !errors.As(err, &perr) {
		s.errs = append(s.errs, s.file.Diagnostic(0, "", err.Error()))
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
	s.errs = append(s.errs, s.file.Diagnostic(off, path, msg))
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
