package checks

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"weir/agentcheck"
	"weir/conf"
)

// Redactor removes from reports what a check has sent, because a server may repeat it. A password is removed as a value
// (see redact). Of passwords and of all other text that is sent, every part of fragmentLength letters and digits is removed,
// plain or in a common encoding. Parts that are shorter are words of any protocol, such as HTTP/1.1. Bytes between the letters
// and digits do not count, so that quotes, escapes and replaced characters hide nothing. nil removes nothing.
type Redactor struct {
	passwords []string
	sent      func() []uint64 // the fragments of the encodings of all texts, sorted
}

// fragmentLength is the number of letters and digits from which a repeated part is no coincidence.
const fragmentLength = 8

// mask replaces what is removed.
const mask = "***"

// NewRedactor returns a redactor, or nil if all texts are empty.
func NewRedactor(passwords []string, sent ...string) *Redactor {
	empty := func(s string) bool { return s == "" }
	passwords, sent = slices.DeleteFunc(passwords, empty), slices.DeleteFunc(sent, empty)
	if len(passwords)+len(sent) == 0 {
		return nil
	}
	texts := slices.Concat(passwords, sent)
	return &Redactor{passwords, sync.OnceValue(func() []uint64 { return fragmentsOf(reducedForms(texts)) })}
}

// sentTexts returns what steps send, as text.
func sentTexts(steps []conf.Step) []string {
	texts := make([]string, len(steps))
	for i, s := range steps {
		texts[i] = string(s.Send)
	}
	return texts
}

// literals returns the texts in quotes of an SQL query. Its other words are names, which the errors of a server explain.
func literals(query string) (texts []string) {
	for {
		i := strings.IndexAny(query, `'"`)
		if i < 0 {
			return texts
		}
		text, rest, _ := strings.Cut(query[i+1:], query[i:i+1])
		texts, query = append(texts, text), rest
	}
}

// monitor returns m with reports and errors that the redactor has changed.
func (r *Redactor) monitor(m Monitor) Monitor {
	if r == nil {
		return m
	}
	return func(ctx context.Context, t Target) (Report, error) {
		report, err := m(ctx, t)
		report.Detail = r.Text(report.Detail)
		if report.Advice != nil {
			report.Advice = r.advice(*report.Advice)
		}
		return report, r.error(err)
	}
}

// advice returns advice whose free text is redacted.
func (r *Redactor) advice(a agentcheck.Advice) *agentcheck.Advice {
	a.Text, a.Unknown = r.Text(a.Text), r.Text(a.Unknown)
	return &a
}

// error returns err with a redacted text.
func (r *Redactor) error(err error) error {
	if r == nil || err == nil {
		return err
	}
	if text := r.Text(err.Error()); text != err.Error() {
		return &replacedError{text, err}
	}
	return err
}

// Text returns a redacted text.
func (r *Redactor) Text(s string) string {
	if r == nil {
		return s
	}
	return r.maskFragments(redactText(s, r.passwords))
}

// maskFragments masks the parts of a text that are part of what was sent.
func (r *Redactor) maskFragments(s string) string {
	reduced, places := reduce(s)
	if len(reduced) < fragmentLength {
		return s
	}
	sent := r.sent()
	repeats := make([]bool, len(reduced)-fragmentLength+1) // whether the fragment at each place was sent
	found := false
	for i := range repeats {
		_, repeats[i] = slices.BinarySearch(sent, fragmentAt(reduced, i))
		found = found || repeats[i]
	}
	if !found {
		return s
	}
	var out strings.Builder
	kept := 0
	for i := 0; i < len(repeats); i++ {
		if !repeats[i] {
			continue
		}
		end := i + fragmentLength
		for next := i + 1; next <= end && next < len(repeats); next++ {
			if repeats[next] {
				end = next + fragmentLength
			}
		}
		from, to := places[i], places[end-1]+1
		for from > kept && !utf8.RuneStart(s[from]) {
			from--
		}
		for to < len(s) && !utf8.RuneStart(s[to]) {
			to++
		}
		out.WriteString(s[kept:from])
		out.WriteString(mask)
		kept, i = to, end-1
	}
	out.WriteString(s[kept:])
	return out.String()
}

// fragmentAt returns the fragment of a reduced text that begins at a place, as a number.
func fragmentAt(reduced string, i int) uint64 {
	return binary.BigEndian.Uint64([]byte(reduced[i : i+fragmentLength]))
}

// fragmentsOf returns the fragments of reduced texts, sorted.
func fragmentsOf(forms []string) (list []uint64) {
	for _, form := range forms {
		for i := 0; i+fragmentLength <= len(form); i++ {
			list = append(list, fragmentAt(form, i))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// reduce returns the letters and digits of a text, and their places in it. Bytes that are not ASCII count as letters.
func reduce(s string) (string, []int) {
	reduced, places := make([]byte, 0, len(s)), make([]int, 0, len(s))
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c >= utf8.RuneSelf {
			reduced, places = append(reduced, c), append(places, i)
		}
	}
	return string(reduced), places
}

// reducedForms returns the reduced encodings of texts: plain, quoted as Go, JSON and URLs do, in hex, and in base64 at each
// of the three places where a part of a longer text can begin.
func reducedForms(texts []string) []string {
	var forms []string
	add := func(s string) {
		if reduced, _ := reduce(s); len(reduced) >= fragmentLength && !slices.Contains(forms, reduced) {
			forms = append(forms, reduced)
		}
	}
	for _, s := range texts {
		add(s)
		add(strconv.Quote(s))
		if text, err := json.Marshal(s); err == nil {
			add(string(text))
		}
		add(url.QueryEscape(s))
		if plain, err := url.QueryUnescape(s); err == nil {
			add(plain)
		}
		digits := hex.EncodeToString([]byte(s))
		add(digits)
		add(strings.ToUpper(digits))
		for i := range min(3, len(s)) {
			add(base64.StdEncoding.EncodeToString([]byte(s[i:])))
		}
	}
	return forms
}
