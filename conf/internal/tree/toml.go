package tree

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/BurntSushi/toml"
)

// joinPositions combines decoded values with their positions.
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
	case []map[string]any: // [[x]]
		joinItems(n, v, at)
	case []any:
		joinItems(n, v, at)
	default:
		n.Value = v
	}
	return n
}

func joinItems[T any](n *Node, items []T, at *position) {
	n.Kind = List
	for i, e := range items {
		n.Items = append(n.Items, joinPositions(n.File, e, at.item(i), n))
		n.Items[i].Index = i
	}
}

// ParseTOML parses a text. The errors are syntax errors, duplicate keys and exceeded limits. The tree is never nil: it
// holds everything outside the broken expressions; incomplete reports whether whole tables may be missing from it.
func ParseTOML(f *File) (root *Node, errs []Diagnostic, incomplete bool) {
	if off, reason := checkLimits(f.Text); reason != "" {
		return &Node{File: f, Kind: Table}, []Diagnostic{f.Diagnostic(off, "", reason)}, true
	}
	s := locate(f)
	budget := 16 << 20 // bytes to parse in all rounds together
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
		if r := recover(); r != nil { // not expected of the library, but a file must not end the process
			err = fmt.Errorf("cannot be parsed: %v", r)
		}
	}()
	_, err = toml.Decode(string(text), &values)
	return values, err
}

// decodeError records an error that only the decoder found and blanks its expression. It returns false if it cannot.
func (s *locator) decodeError(err error) bool {
	var perr toml.ParseError
	if !errors.As(err, &perr) {
		s.errs = append(s.errs, s.file.Diagnostic(0, "", err.Error()))
		return false
	}
	off := min(perr.Position.Start, len(s.clean))
	msg := lowerFirst(perr.Message)
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
		i = max(0, i-1) // just after an expression
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
