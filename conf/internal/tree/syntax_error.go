package tree

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// unclosed is what a broken expression left open.
type unclosed uint8

const (
	unclosedNothing   unclosed = iota
	unclosedString             // a string that ends with its line
	unclosedMultiline          // a multi-line string: the rest of the text belongs to it
	unclosedBracket            // a list or an inline table
)

// describeError turns a parser's complaint about the expression at start into our words, and finds what was left open, which
// is a better place to point at.
func describeError(text []byte, start, off int, reason string) (at int, msg string, open unclosed) {
	s := scanner{text: text, end: start}
	bracket := -1
	for s.next() && s.at < off {
		if s.unclosed {
			if s.multiline {
				return s.quote, "unterminated string: the closing " + strings.Repeat(string(text[s.quote]), 3) + " is missing", unclosedMultiline
			}
			return s.quote, "unterminated string: the closing " + string(text[s.quote]) + " is missing", unclosedString
		}
		bracket = -1
		if s.depth > 0 && s.depth < len(s.opened) {
			bracket = s.opened[s.depth]
		}
	}
	switch {
	case strings.HasPrefix(reason, "expected ']' to close table name"):
		return off, "expected ] to close the table's name" + gotRune(text, off), unclosedNothing
	case strings.HasPrefix(reason, "expected ']]' to close array table name") && off < len(text) && text[off] == ']':
		off++
		return off, "expected ] to close the table's name" + gotRune(text, off), unclosedNothing
	case strings.HasPrefix(reason, "expected ']]' to close array table name"):
		return off, "expected ]] to close the table's name" + gotRune(text, off), unclosedNothing
	}
	msg = describeReason(reason, text, start, off)
	if bracket >= 0 {
		f := File{Text: text}
		open = unclosedBracket
		from := f.Line(bracket)
		if from != f.Line(off) {
			msg += fmt.Sprintf(" (in the %s that opens on line %d)", bracketName(text[bracket]), from)
		}
	}
	return off, msg, open
}

func bracketName(c byte) string {
	if c == '{' {
		return "inline table"
	}
	return "list"
}

// bareValue matches a key whose value begins like a duration, an address or a word, but without quotes.
var bareValue = regexp.MustCompile(`^[A-Za-z0-9_."'-]+\s*=\s*[A-Za-z0-9:./-]+`)

// describeReason is a parser's reason with its rune notation made readable and a hint for the commonest slip.
func describeReason(reason string, text []byte, start, off int) string {
	got := gotRune(text, off)
	switch {
	case strings.HasPrefix(reason, "expected newline but got"), reason == "strings must be quoted":
		reason = "expected the end of the line" + got
	case strings.HasPrefix(reason, "expected value but got"):
		reason = "expected a value" + got
	case strings.HasPrefix(reason, "unexpected character") || strings.HasPrefix(reason, "expected keyword"):
		reason = "expected a value" + got
	case strings.HasPrefix(reason, "invalid character at start of key"):
		reason = "expected a key" + got
	case strings.HasPrefix(reason, "expected '=' after key"):
		return "expected = after the key" + got
	case strings.HasPrefix(reason, "expected ',' or ']'"):
		return "expected , or ] after a list's element" + got
	case strings.HasPrefix(reason, "expected ',' or '}'"):
		return "expected , or } after an inline table's key" + got
	case strings.HasPrefix(reason, "invalid escape character"):
		return "invalid escape " + string(text[off:min(off+2, len(text))]) + `; write \\ for a backslash`
	case reason == "array is incomplete":
		return "expected ] to close the list, got the end of the file"
	case reason == "inline table is incomplete":
		return "expected } to close the inline table, got the end of the file"
	default:
		return strings.ToLower(reason[:1]) + reason[1:]
	}
	if bareValue.Match(text[start:lineEnd(text, start)]) && !strings.ContainsAny(got, `"=`) {
		reason += `; texts, durations and addresses need quotes, as in "5s"`
	}
	return reason
}

// gotRune is the tail of a message: what stands at an offset.
func gotRune(text []byte, off int) string {
	if off >= len(text) {
		return ", got the end of the file"
	}
	switch r, _ := utf8.DecodeRune(text[off:]); r {
	case '\n', '\r':
		return ", got the end of the line"
	default:
		return fmt.Sprintf(", got %q", r)
	}
}
