package tree

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Limits of a text. A legal configuration nests six levels deep. The parsers recurse, so nesting limits their stack; the
// number of values limits the memory that a hostile file can use.
const (
	MaxFileSize = 16 << 20
	maxNesting  = 16
	maxValues   = 1 << 18
)

// checkLimits rejects, in one pass and without recursion, texts that are too large, nested too deep or not UTF-8. It
// returns the offset and the reason, or "" if the text may be parsed.
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
		return off, "NUL byte; want a text file"
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
