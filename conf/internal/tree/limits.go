package tree

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// What a file may hold. A legal configuration nests six deep; the parsers behind this guard recurse, and a bound on the
// number of values bounds the memory that a hostile file can take.
const (
	MaxFileSize = 16 << 20
	maxNesting  = 16
	maxValues   = 1 << 20
)

// checkLimits refuses, in one pass and without recursion, texts that are too large, too deep or not text at all. It returns
// the offset and the reason, or "" if the parsers may have the text.
func checkLimits(text []byte) (off int, reason string) {
	if len(text) > MaxFileSize {
		return 0, fmt.Sprintf("larger than %d MB", MaxFileSize>>20)
	}
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return 0, "this is UTF-16; want UTF-8"
	}
	if !utf8.Valid(text) {
		for off < len(text) {
			r, n := utf8.DecodeRune(text[off:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			off += n
		}
		return off, fmt.Sprintf("byte 0x%02x is not UTF-8", text[off])
	}
	if off = bytes.IndexByte(text, 0); off >= 0 {
		return off, "a NUL byte; want a text file"
	}
	s := scanner{text: text}
	for s.next() {
		switch {
		case s.depth > maxNesting:
			return s.at, fmt.Sprintf("nested more than %d deep", maxNesting)
		case s.dots > maxNesting:
			return s.at, fmt.Sprintf("a key of more than %d parts", maxNesting)
		case s.values > maxValues:
			return s.at, fmt.Sprintf("more than %d values", maxValues)
		}
	}
	return 0, ""
}

// scanner walks over a TOML text token by token, knowing no more of the grammar than strings, comments, brackets and
// dots. It never fails: what it makes of a broken text is good enough for bounds and for pointing at what was left open.
type scanner struct {
	text []byte

	at, end int // the current token
	depth   int // brackets open after it, those of table headers not counted
	dots    int // consecutive dots of the key that it belongs to
	values  int // roughly, the values so far
	header  bool
	opened  [maxNesting + 2]int // where each of the open brackets is

	unclosed  bool // a string misses its end:
	quote     int  // where it begins
	multiline bool // and whether it is a multi-line one
}

func (s *scanner) next() bool {
	fresh := s.end == 0 // Offset the start of a line
	for {
		for s.end < len(s.text) {
			c := s.text[s.end]
			if c == '\n' {
				fresh, s.header, s.dots = true, false, 0
				s.values++
			} else if c != ' ' && c != '\t' && c != '\r' {
				break
			}
			s.end++
		}
		if s.end >= len(s.text) {
			return false
		}
		if s.text[s.end] != '#' {
			break
		}
		s.end = lineEnd(s.text, s.end)
	}
	s.at = s.end
	c := s.text[s.at]
	s.end++
	if fresh && s.depth == 0 && c == '[' {
		s.header = true
	}
	switch c {
	case '"', '\'':
		s.end = s.stringEnd(s.at)
	case '[', '{':
		if !s.header {
			s.depth++
			if s.depth < len(s.opened) {
				s.opened[s.depth] = s.at
			}
		}
		s.dots = 0
	case ']', '}':
		if !s.header && s.depth > 0 {
			s.depth--
		}
		s.dots = 0
	case ',', '=':
		s.dots = 0
		if c == ',' {
			s.values++
		}
	case '.':
		s.dots++
	}
	return true
}

// stringEnd is the offset after the string that begins at off. A string that misses its end goes to the end of its line,
// a multi-line one to the end of the text.
func (s *scanner) stringEnd(off int) int {
	q, rest := s.text[off], s.text[off:]
	triple := len(rest) > 2 && rest[1] == q && rest[2] == q
	i := 1
	if triple {
		i = 3
	}
	for ; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '\\' && q == '"':
			i++
		case c == '\n' && !triple:
			s.unclosed, s.quote, s.multiline = true, off, false
			return off + i
		case c == q && !triple:
			return off + i + 1
		case c == q && i+2 < len(rest) && rest[i+1] == q && rest[i+2] == q:
			for i += 3; i < len(rest) && rest[i] == q; i++ { // up to two quotes may belong to the text
			}
			return off + i
		}
	}
	s.unclosed, s.quote, s.multiline = true, off, triple
	return len(s.text)
}

// lineEnd is the offset of the newline that ends the line around off, or the length of the text.
func lineEnd(text []byte, off int) int {
	if i := bytes.IndexByte(text[off:], '\n'); i >= 0 {
		return off + i
	}
	return len(text)
}
