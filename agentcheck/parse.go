package agentcheck

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"weir/internal/printable"
)

// MaxReply is how many bytes of a reply are read, including its line end. HAProxy reads as many by default (tune.bufsize).
const MaxReply = 16 << 10

// Errors of Parse and Query: replies without effect.
var (
	ErrIncomplete = errors.New("agent reply without a line end")
	ErrTooLong    = errors.New("agent reply without a line end in its first " + strconv.Itoa(MaxReply) + " bytes")
	ErrEmpty      = errors.New("empty agent reply")
)

// Parse reads an agent's reply:
//
//	reply = line ( CR | LF )                       ; the first CR or LF ends it and is required
//	line  = { sep } [ word { sep word } ] [ sep "#" text ]
//	sep   = SP | TAB | ","                          ; any run, in any order
//	word  = "up" | "down" | "fail" | "failed" | "stopped"
//	      | "ready" | "drain" | "maint"
//	      | 1*DIGIT "%" | "weight:" 1*DIGIT [ "%" ]
//	      | "maxconn:" 1*DIGIT                      ; all in upper or lower case
//
// Of several words of one kind the last counts. The first unknown word is kept in Advice.Unknown and has
// no effect on the others. "#" begins the text only where a word could begin.
//
// The errors are ErrIncomplete, ErrTooLong and ErrEmpty (a line without a word); the advice is then the zero value.
func Parse(reply []byte) (Advice, error) {
	if len(reply) > MaxReply {
		reply = reply[:MaxReply]
	}
	end := lineEnd(reply)
	switch {
	case end < 0 && len(reply) >= MaxReply:
		return Advice{}, ErrTooLong
	case end < 0:
		return Advice{}, ErrIncomplete
	}
	var advice Advice
	var text string
	words := 0
	line := string(reply[:end])
	for {
		line = strings.TrimLeft(line, separators)
		if line == "" {
			break
		}
		if line[0] == '#' {
			text = printable.Clip(strings.TrimSpace(line[1:]), printable.MaxQuote)
			break
		}
		word, rest, _ := cutAny(line, separators)
		words++
		if !advice.apply(strings.ToLower(word)) && advice.Unknown == "" {
			advice.Unknown = printable.Clip(word, printable.MaxQuote)
		}
		line = rest
	}
	if words == 0 {
		return Advice{}, ErrEmpty
	}
	if advice.Health != HealthUnset {
		advice.Text = text
	}
	return advice, nil
}

const separators = " \t,"

// apply applies one word in lower case and reports whether it is known.
func (a *Advice) apply(word string) bool {
	switch word {
	case "up":
		a.Health, a.Word = HealthUp, word
		return true
	case "down", "fail", "failed", "stopped":
		a.Health, a.Word = HealthDown, word
		return true
	case "ready":
		a.Admin = AdminReady
		return true
	case "drain":
		a.Admin = AdminDrain
		return true
	case "maint":
		a.Admin = AdminMaint
		return true
	}
	if digits, ok := strings.CutPrefix(word, "maxconn:"); ok {
		n, ok := parseNumber(digits, MaxSessions)
		if !ok || n > MaxSessions {
			return false
		}
		a.MaxSessions, a.HasMaxSessions = n, true
		return true
	}
	digits, named := strings.CutPrefix(word, "weight:")
	digits, percent := strings.CutSuffix(digits, "%")
	if !named && !percent {
		return false
	}
	n, ok := parseNumber(digits, MaxPercent)
	switch {
	case !ok:
		return false
	case percent:
		a.Weight = Weight{WeightPercent, min(n, MaxPercent)}
		return true
	case n > MaxWeight:
		return false
	}
	a.Weight = Weight{WeightAbsolute, n}
	return true
}

// parseNumber parses decimal digits. Values above limit are returned as limit+1.
func parseNumber(digits string, limit int) (int, bool) {
	if digits == "" {
		return 0, false
	}
	n := 0
	for i := range len(digits) {
		d := digits[i]
		if d < '0' || d > '9' {
			return 0, false
		}
		if n <= limit {
			n = min(n*10+int(d-'0'), limit+1)
		}
	}
	return n, true
}

// lineEnd returns the index of the first CR or LF, or -1.
func lineEnd(reply []byte) int { return bytes.IndexAny(reply, "\r\n") }

// cutAny is strings.Cut at the first of several characters.
func cutAny(s, chars string) (before, after string, found bool) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
