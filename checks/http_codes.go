package checks

import (
	"cmp"
	"fmt"
	"strings"
)

// Codes is a set of HTTP status codes.
type Codes struct {
	patterns []string // three digits each; "x" matches any digit
}

// ParseCodes parses a set such as "101 102 2xx 3xx" or "200,40x": three-digit codes, of which the last two digits may
// be x, separated by blanks or commas. "" means DefaultCodes. The error names the invalid part.
func ParseCodes(s string) (Codes, error) {
	s = cmp.Or(s, DefaultCodes)
	var c Codes
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		p := strings.ToLower(word)
		if len(p) != 3 || p[0] < '1' || p[0] > '9' || !digitOrX(p[1]) || !digitOrX(p[2]) || p[1] == 'x' && p[2] != 'x' {
			return Codes{}, fmt.Errorf("status codes: want codes such as 200, 40x or 2xx, got %q", word)
		}
		c.patterns = append(c.patterns, p)
	}
	if len(c.patterns) == 0 {
		return Codes{}, fmt.Errorf("status codes: want codes such as 200, 40x or 2xx, got %q", s)
	}
	return c, nil
}

func digitOrX(b byte) bool { return b >= '0' && b <= '9' || b == 'x' }

// Match reports whether a code is in the set.
func (c Codes) Match(code int) bool {
	if code < 100 || code > 999 {
		return false
	}
	digits := [3]byte{byte('0' + code/100), byte('0' + code/10%10), byte('0' + code%10)}
	for _, p := range c.patterns {
		if p[0] == digits[0] && (p[1] == 'x' || p[1] == digits[1]) && (p[2] == 'x' || p[2] == digits[2]) {
			return true
		}
	}
	return false
}

// String returns the set in the format of ParseCodes.
func (c Codes) String() string { return strings.Join(c.patterns, " ") }
