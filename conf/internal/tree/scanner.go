package tree

import "bytes"

// scanner splits a TOML text into tokens. It recognises only strings, comments, brackets and dots. It never fails: on a
// broken text its result is good enough for limits and for finding an unclosed string or bracket.
type scanner struct {
	text []byte

	at, end int // the current token
	depth   int // open brackets after the token, without those of table headers
	dots    int // dots of the current key so far
	values  int // approximate number of values so far
	header  bool
	opened  [maxNesting + 2]int // the offset of each open bracket

	unclosed  bool // a string has no closing quote
	quote     int  // the offset of that string
	multiline bool // that string is a multi-line one
}

func (s *scanner) next() bool {
	fresh := s.end == 0 // at the start of a line
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

// stringEnd returns the offset after the string that begins at off. An unclosed string ends with its line, an unclosed
// multi-line string with the text.
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
			for i += 3; i < len(rest) && rest[i] == q; i++ { // the string may end with up to two quotes
			}
			return off + i
		}
	}
	s.unclosed, s.quote, s.multiline = true, off, triple
	return len(s.text)
}

// lineEnd returns the offset of the newline at the end of the line that contains off, or the length of the text.
func lineEnd(text []byte, off int) int {
	if i := bytes.IndexByte(text[off:], '\n'); i >= 0 {
		return off + i
	}
	return len(text)
}
