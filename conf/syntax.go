package conf

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// opening is what a broken expression left open.
type opening uint8

const (
	openNothing opening = iota
	openLine            // a string that ends with its line
	openText            // a multi-line string: the rest of the text belongs to it
	openBracket         // a list or an inline table
)

// explain turns a parser's complaint about the expression at start into our words, and finds what was left open, which
// is a better place to point at.
func explain(text []byte, start, off int, reason string) (at int, msg string, open opening) {
	s := scanner{text: text, end: start}
	bracket := -1
	for s.next() && s.at < off {
		if s.unclosed {
			if s.triple {
				return s.quote, "unterminated string: the closing " + strings.Repeat(string(text[s.quote]), 3) + " is missing", openText
			}
			return s.quote, "unterminated string: the closing " + string(text[s.quote]) + " is missing", openLine
		}
		bracket = -1
		if s.depth > 0 && s.depth < len(s.opened) {
			bracket = s.opened[s.depth]
		}
	}
	switch {
	case strings.HasPrefix(reason, "expected ']' to close table name"):
		return off, "expected ] to close the table's name" + gotByte(text, off), openNothing
	case strings.HasPrefix(reason, "expected ']]' to close array table name") && off < len(text) && text[off] == ']':
		off++
		return off, "expected ] to close the table's name" + gotByte(text, off), openNothing
	case strings.HasPrefix(reason, "expected ']]' to close array table name"):
		return off, "expected ]] to close the table's name" + gotByte(text, off), openNothing
	}
	msg = plainSyntax(reason, text, start, off)
	if bracket >= 0 {
		f := file{text: text}
		open = openBracket
		from := f.line(bracket)
		if from != f.line(off) {
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

// plainSyntax is a parser's reason with its rune notation made readable and a hint for the commonest slip.
func plainSyntax(reason string, text []byte, start, off int) string {
	got := gotByte(text, off)
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

// gotByte is the tail of a message: what stands at an offset.
func gotByte(text []byte, off int) string {
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
