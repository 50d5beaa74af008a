// Package printable makes text from outside fit for reasons, events, logs, hooks and terminals: text of servers,
// certificates, resolvers, programs, agents and clients.
package printable

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The maximum lengths in bytes of a text that Clip has not shortened.
const (
	MaxQuote = 120  // one quotation
	MaxLine  = 1000 // a whole reason with its quotations
)

// more ends a text that was shortened.
const more = "…"

// Clip returns s with each character that is not printable, and each byte that is not UTF-8, replaced by "?". If the
// result has more than limit bytes, it is shortened to at most limit bytes, and "…" follows. Clip does not change its own
// results.
func Clip(s string, limit int) string {
	const longest = utf8.UTFMax // each replaced byte becomes one; s needs no more than this to be too long
	if len(s) > limit*longest+len(more) {
		s = s[:limit*longest+len(more)]
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) <= limit || len(s) <= limit+len(more) && strings.HasSuffix(s, more) {
		return s
	}
	end := limit
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + more
}
