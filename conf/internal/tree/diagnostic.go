package tree

import (
	"fmt"
	"strings"
)

// Diagnostic is one error or warning with its position. Line and Col count from 1, Col in characters; Line 0 means the
// whole file. Indexes in Path count from 0, as in cluster.redis.level[0].servers[1].weight.
type Diagnostic struct {
	File string // "" = not from a file
	Line int
	Col  int
	Path string // "" if no key is concerned, as in syntax errors
	Msg  string

	Revision int // of the shared configuration that File stands for; 0 = a file
}

// String formats the diagnostic as one line: weir.toml:12:3: listener[0].address: missing port in "10.0.0.1". A shared
// configuration has its revision in place of the file: revision 7, line 12, column 3: …
func (m Diagnostic) String() string {
	var b strings.Builder
	if m.File != "" {
		b.WriteString(m.File)
		if m.Line > 0 && m.Revision > 0 {
			fmt.Fprintf(&b, ", line %d, column %d", m.Line, m.Col)
		} else if m.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", m.Line, m.Col)
		}
		b.WriteString(": ")
	}
	if m.Path != "" {
		b.WriteString(m.Path)
		b.WriteString(": ")
	}
	b.WriteString(m.Msg)
	return b.String()
}
