package tree

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Getting past what cannot be parsed: how much of the text a broken expression spoils, and where to go on.

// maxSyntaxErrors is how many broken expressions are looked past: a text with more is not a configuration.
const maxSyntaxErrors = 50

// maxErrors bounds the errors that are not of syntax, such as duplicate keys.
const maxErrors = 10000

// blank overwrites part of the text, keeping its lines.
func (s *locator) blank(from, to int) {
	for i := from; i < to; i++ {
		if c := s.clean[i]; c != '\n' && c != '\r' {
			s.clean[i] = ' '
		}
	}
}

// blankInline takes out a key of an inline table, with the comma before it.
func (s *locator) blankInline(from, to int) {
	i := from - 1
	for i >= 0 && strings.IndexByte(" \t\r\n", s.clean[i]) >= 0 {
		i--
	}
	if i >= 0 && s.clean[i] == ',' {
		from = i
	}
	s.blank(from, to)
}

// syntaxError reports a syntax error, blanks what it spoils and returns the offset from which to go on.
func (s *locator) syntaxError(p *unstable.Parser, base int) (resume int) {
	text := s.file.Text
	start := s.nextStart(base)
	off, reason := start, p.Error().Error()
	var perr *unstable.ParserError
	if errors.As(p.Error(), &perr) {
		off = base + cap(text[base:]) - cap(perr.Highlight)
		off = max(start, min(off, len(text)))
		reason = perr.Message
	}
	header := text[start] == '['
	off, reason, open := describeError(text, start, off, reason)
	s.errs = append(s.errs, s.file.Diagnostic(off, s.pathOf(start, s.prefix), reason))

	resume = min(lineEnd(text, max(off, start))+1, len(text))
	switch {
	case open == unclosedMultiline:
		resume, s.incomplete = len(text), true
	case header || open == unclosedBracket && !closes(text, start):
		from := resume
		if open == unclosedBracket {
			from = lineStart(text, off)
			if from <= start {
				from = resume
			}
		}
		resume = nextHeader(text, from)
		s.table, s.incomplete = nil, true
	case s.table != nil:
		s.table.incomplete = true
	}
	s.blank(start, resume)
	return resume
}

// plainKey matches the key of an expression that could not be parsed, if it is one without quotes.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\s*=`)

// pathOf is the path of the key that begins at off, in the table that prefix leads to; "" if there is none to be seen.
func (s *locator) pathOf(off int, prefix []string) string {
	key := plainKey.Find(s.file.Text[off:min(off+maxPlainKey, len(s.file.Text))])
	if key == nil {
		return ""
	}
	parts := strings.Split(strings.TrimRight(string(key), " \t\r\n="), ".")
	return joinPath(append(slices.Clone(prefix), parts...))
}

// maxPlainKey bounds how far a key that is none is looked at.
const maxPlainKey = 200

// nextStart is the offset of the first expression after the last one known, not before base.
func (s *locator) nextStart(base int) int {
	off := base
	if n := len(s.spans); n > 0 && s.spans[n-1].end > off {
		off = min(lineEnd(s.file.Text, s.spans[n-1].end)+1, len(s.file.Text)-1)
	}
	sc := scanner{text: s.file.Text, end: off}
	if sc.next() {
		return sc.at
	}
	return min(off, len(s.file.Text)-1)
}

// closes tells whether the brackets that open in the line from off on are closed in it.
func closes(text []byte, off int) bool {
	s := scanner{text: text[:lineEnd(text, off)], end: off}
	for s.next() {
	}
	return s.depth == 0
}

func lineStart(text []byte, off int) int {
	return bytes.LastIndexByte(text[:min(off, len(text))], '\n') + 1
}

// nextHeader is the offset of the first line from off on that looks like a table header.
func nextHeader(text []byte, off int) int {
	for off < len(text) {
		end := lineEnd(text, off)
		line := bytes.TrimSpace(text[off:end])
		if i := bytes.IndexByte(line, '#'); i >= 0 {
			line = bytes.TrimSpace(line[:i])
		}
		if len(line) > 2 && line[0] == '[' && line[len(line)-1] == ']' && !bytes.ContainsAny(line, ",=") {
			if c := bytes.TrimLeft(line, "[ \t"); len(c) > 0 && c[0] != '"' && c[0] != '\'' && (c[0] < '0' || c[0] > '9') {
				return off
			}
		}
		off = end + 1
	}
	return len(text)
}
