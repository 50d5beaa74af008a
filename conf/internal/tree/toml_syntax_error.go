package tree

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// unclosed is the string or bracket that a broken expression does not close.
type unclosed uint8

const (
	unclosedNothing   unclosed = iota
	unclosedString             // a string that ends with its line
	unclosedMultiline          // a multi-line string, which takes the rest of the text
	unclosedBracket            // a list or an inline table
)

// describeError rewrites the parser's error about the expression at start. If a string or bracket is unclosed, the
// returned offset is that of the string or bracket.
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
		open = unclosedBracket
		if bytes.IndexByte(text[bracket:max(bracket, off)], '\n') >= 0 {
			line := bytes.Count(text[:bracket], []byte("\n")) + 1
			msg += fmt.Sprintf(" (in the %s that opens on line %d)", bracketName(text[bracket]), line)
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

// bareValue matches a key whose value looks like a duration, an address or a word without quotes.
var bareValue = regexp.MustCompile(`^[A-Za-z0-9_."'-]+\s*=\s*[A-Za-z0-9:./-]+`)

// describeReason rewrites the parser's reason and adds a hint for the most common error, missing quotes.
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
		return lowerFirst(reason)
	}
	if bareValue.Match(text[start:lineEnd(text, start)]) && !strings.ContainsAny(got, `"=`) && !strings.HasPrefix(got, ", got a carriage return") {
		reason += `; texts, durations and addresses need quotes, as in "5s"`
	}
	return reason
}

// lowerFirst makes the first letter lower case unless the first word is an abbreviation such as TOML.
func lowerFirst(s string) string {
	if len(s) > 1 && s[0] >= 'A' && s[0] <= 'Z' && (s[1] < 'A' || s[1] > 'Z') {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

// gotRune returns the end of a message, ", got …", for the character at an offset.
func gotRune(text []byte, off int) string {
	if off >= len(text) {
		return ", got the end of the file"
	}
	r, _ := utf8.DecodeRune(text[off:])
	switch {
	case isLineEnd(text, off):
		return ", got the end of the line"
	case r == '\r':
		return ", got a carriage return without a line feed"
	}
	return fmt.Sprintf(", got %q", r)
}
