package tree

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Recovery from syntax errors: how much of the text a broken expression affects, and where to continue.

// maxSyntaxErrors limits the broken expressions after which parsing continues.
const maxSyntaxErrors = 50

// maxErrors limits the other errors, such as duplicate keys.
const maxErrors = 2000

// blank overwrites part of the text with spaces and keeps its lines.
func (s *locator) blank(from, to int) {
	for i := from; i < to; i++ {
		if !isLineEnd(s.clean, i) {
			s.clean[i] = ' '
		}
	}
}

// isLineEnd reports whether the byte at off is a line feed, or a carriage return before one.
func isLineEnd(text []byte, off int) bool {
	return text[off] == '\n' || text[off] == '\r' && off+1 < len(text) && text[off+1] == '\n'
}

// blankInline blanks a key of an inline table and the comma before it.
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

// syntaxError records a syntax error, blanks the text that it affects and returns the offset at which to continue.
func (s *locator) syntaxError(p *unstable.Parser, base int) (resume int) {
	text := s.file.Text
	start := s.nextStart(base)
	off, reason := start, p.Error().Error()
	if perr, ok := errors.AsType[*unstable.ParserError](p.Error()); ok {
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

// plainKey matches the unquoted key of an expression that could not be parsed.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\s*=`)

// pathOf returns the path of the key that begins at off in the table at prefix, or "" if there is no plain key.
func (s *locator) pathOf(off int, prefix []string) string {
	key := plainKey.Find(s.file.Text[off:min(off+maxPlainKey, len(s.file.Text))])
	if key == nil {
		return ""
	}
	parts := strings.Split(strings.TrimRight(string(key), " \t\r\n="), ".")
	return joinPath(append(slices.Clone(prefix), parts...))
}

// maxPlainKey limits the text that is searched for a key.
const maxPlainKey = 200

// nextStart returns the offset of the first expression after the last parsed one, not before base.
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

// closes reports whether the brackets that open between off and the end of the line are closed there.
func closes(text []byte, off int) bool {
	s := scanner{text: text[:lineEnd(text, off)], end: off}
	for s.next() {
	}
	return s.depth == 0
}

func lineStart(text []byte, off int) int {
	return bytes.LastIndexByte(text[:min(off, len(text))], '\n') + 1
}

// nextHeader returns the offset of the first line from off on that looks like a table header, or the length of the text.
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
