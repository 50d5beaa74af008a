package tree

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// locator records the position of every key and value of a text and blanks what cannot be parsed, so that one broken
// line does not hide the errors of the others.
type locator struct {
	file  *File
	root  *position
	clean []byte // the text with broken and repeated expressions blanked; offsets are unchanged
	errs  []Diagnostic

	table      *position // the table that keys belong to; nil below a rejected header
	prefix     []string
	spans      []span
	incomplete bool // whole tables were blanked, so keys that seem missing may exist
}

// span is the extent of one expression.
type span struct {
	start, end int
	header     bool
	prefix     []string // of the table that it is in
}

func locate(f *File) *locator {
	s := &locator{file: f, root: &position{form: formTable}}
	s.clean = bytes.Clone(f.Text)
	s.table = s.root

	var p unstable.Parser
	base := 0 // the offset in the text at which the parser started
	p.Reset(f.Text)
	for {
		if p.NextExpression() {
			s.expression(&p, base)
			continue
		}
		if p.Error() == nil {
			return s
		}
		resume := s.syntaxError(&p, base)
		if len(s.errs) >= maxSyntaxErrors || resume >= len(f.Text) {
			return s
		}
		base = resume
		p.Reset(f.Text[base:])
	}
}

// keyPart is one part of a dotted key.
type keyPart struct {
	name string
	at   int
}

func keyParts(it unstable.Iterator, base int) []keyPart {
	var parts []keyPart
	for it.Next() {
		n := it.Node()
		parts = append(parts, keyPart{string(n.Data), base + int(n.Raw.Offset)})
	}
	return parts
}

func names(parts []keyPart) []string {
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = p.name
	}
	return out
}

func (s *locator) expression(p *unstable.Parser, base int) {
	e := p.Expression()
	parts := keyParts(e.Key(), base)
	start := parts[0].at
	switch e.Kind {
	case unstable.Table, unstable.ArrayTable:
		start = bytes.LastIndexByte(s.file.Text[:start], '[')
		if e.Kind == unstable.ArrayTable {
			start--
		}
		s.spans = append(s.spans, span{start, lineEnd(s.file.Text, start), true, nil})
		s.prefix = s.indexed(parts, e.Kind == unstable.ArrayTable)
		if msg := s.enterTable(parts, start, e.Kind == unstable.ArrayTable); msg != "" {
			s.addError(parts[len(parts)-1].at, names(parts), msg)
			s.blank(start, lineEnd(s.clean, start)) // the keys below it are blanked one by one
			s.incomplete = true
		}
	case unstable.KeyValue:
		end := base + int(e.Raw.Offset+e.Raw.Length)
		s.spans = append(s.spans, span{start, end, false, s.prefix})
		if s.table == nil { // below a rejected header
			s.blank(start, end)
			return
		}
		if at, path, msg := s.addKey(s.table, e, base, start); msg != "" {
			s.addError(at, append(append([]string{}, s.prefix...), path...), msg)
			s.blank(start, end)
		}
	}
}

// indexed returns the path of a header's table, with the indexes of repeated tables.
func (s *locator) indexed(parts []keyPart, many bool) []string {
	var path []string
	t := s.root
	for i, k := range parts {
		path = append(path, k.name)
		c := t.child(k.name)
		last := i == len(parts)-1
		switch {
		case last && many:
			n := 0
			if c != nil {
				n = len(c.items)
			}
			path = append(path, fmt.Sprintf("[%d]", n))
		case c != nil && c.form == formTables && !last:
			path = append(path, fmt.Sprintf("[%d]", len(c.items)-1))
			t = c.last()
		default:
			t = c
		}
	}
	return path
}

// enterTable makes the table of a header the current one. It returns an error message, or "".
func (s *locator) enterTable(parts []keyPart, start int, many bool) string {
	s.table = nil
	t := s.root
	for i, k := range parts[:len(parts)-1] {
		c := t.child(k.name)
		switch {
		case c == nil:
			c = &position{at: int32(start), key: int32(k.at), form: formImplied}
			t.put(k.name, c)
		case c.form == formValue || c.form == formInline:
			return fmt.Sprintf("%s already has a value on line %d", strings.Join(names(parts[:i+1]), "."), s.line(int(c.key)))
		}
		t = c.last()
	}
	k := parts[len(parts)-1]
	old := t.child(k.name)
	fresh := &position{at: int32(start), key: int32(k.at), form: formTable}
	switch {
	case many && old == nil:
		t.put(k.name, &position{at: int32(start), key: int32(k.at), form: formTables, items: []*position{fresh}})
	case many && old.form == formTables:
		old.items = append(old.items, fresh)
	case many && old.form != formValue:
		return fmt.Sprintf("[[%[1]s]] after [%[1]s] on line %[2]d: one of them is wrong", strings.Join(names(parts), "."), s.line(int(old.key)))
	case !many && old == nil:
		t.put(k.name, fresh)
	case !many && old.form == formImplied:
		old.form, old.at, old.key = formTable, int32(start), int32(k.at)
		fresh = old
	case !many && old.form == formTables:
		return fmt.Sprintf("[%[1]s] after [[%[1]s]] on line %[2]d: one of them is wrong", strings.Join(names(parts), "."), s.line(int(old.key)))
	default:
		what := "key"
		if old.form == formTable {
			what = "table"
		}
		return s.duplicate(what, k.name, old, k.at)
	}
	s.table = fresh
	return ""
}

// addKey records a key and its value in a table. On an error it returns the offset, the parts of the key and the message.
func (s *locator) addKey(t *position, kv *unstable.Node, base, start int) (int, []string, string) {
	parts := keyParts(kv.Key(), base)
	for _, k := range parts[:len(parts)-1] {
		c := t.child(k.name)
		switch {
		case c == nil:
			c = &position{at: int32(k.at), key: int32(k.at), form: formDotted}
			t.put(k.name, c)
		case c.form != formDotted:
			return k.at, names(parts), fmt.Sprintf("%s is already defined on line %d", QuoteKey(k.name), s.line(int(c.key)))
		}
		t = c
	}
	k := parts[len(parts)-1]
	if old := t.child(k.name); old != nil {
		return k.at, names(parts), s.duplicate("key", k.name, old, k.at)
	}
	c := s.value(kv.Value(), base, s.valueStart(k.at), names(parts))
	c.key = int32(k.at)
	t.put(k.name, c)
	return 0, nil, ""
}

// value returns the position of a value and its parts. fallback is used for values without an offset of their own.
func (s *locator) value(n *unstable.Node, base, fallback int, path []string) *position {
	at := fallback
	if n.Raw.Length > 0 {
		at = base + int(n.Raw.Offset)
	}
	c := &position{at: int32(at), key: int32(at)}
	switch n.Kind {
	case unstable.Array:
		for it := n.Children(); it.Next(); {
			c.items = append(c.items, s.value(it.Node(), base, s.listStart(it.Node(), base, at), append(path, fmt.Sprintf("[%d]", len(c.items)))))
		}
	case unstable.InlineTable:
		c.form = formInline
		for it := n.Children(); it.Next(); {
			kv := it.Node()
			start := base + int(kv.Raw.Offset)
			if off, sub, msg := s.addKey(c, kv, base, start); msg != "" {
				s.addError(off, append(append(append([]string{}, s.prefix...), path...), sub...), msg)
				s.blankInline(start, start+int(kv.Raw.Length))
			}
		}
	}
	return c
}

// listStart returns the offset of a list inside a list: the bracket before its first element, or for an empty list the
// offset of the outer list.
func (s *locator) listStart(n *unstable.Node, base, around int) int {
	for e := n; e.Kind == unstable.Array; e = e.Child() {
		first := e.Child()
		if first == nil {
			return around
		}
		if first.Raw.Length > 0 {
			at := base + int(first.Raw.Offset)
			for ; e != n; n = n.Child() { // one more bracket for each level between
				at = max(0, bytes.LastIndexByte(s.file.Text[:at], '['))
			}
			return max(around, bytes.LastIndexByte(s.file.Text[:at], '['))
		}
	}
	return around
}

// valueStart returns the offset of the value that follows the key at off.
func (s *locator) valueStart(off int) int {
	sc := scanner{text: s.file.Text, end: off}
	for sc.next() {
		if s.file.Text[sc.at] == '=' {
			if sc.next() {
				return sc.at
			}
			break
		}
	}
	return off
}

func (s *locator) line(off int) int {
	return s.file.Line(off)
}

func (s *locator) duplicate(what, name string, old *position, off int) string {
	return fmt.Sprintf("duplicate %s %s (lines %d and %d)", what, QuoteKey(name), s.line(int(old.key)), s.line(off))
}

func (s *locator) addError(off int, path []string, msg string) {
	if len(s.errs) < maxErrors {
		s.errs = append(s.errs, s.file.Diagnostic(off, joinPath(path), msg))
	}
}

// joinPath joins the parts of a key; "[1]" is an index.
func joinPath(parts []string) string {
	var b strings.Builder
	for i, p := range parts {
		switch {
		case strings.HasPrefix(p, "[") && i > 0:
			b.WriteString(p)
			continue
		case i > 0:
			b.WriteByte('.')
		}
		b.WriteString(QuoteKey(p))
	}
	return b.String()
}
