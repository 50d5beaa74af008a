package printable

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestClip(t *testing.T) {
	for s, want := range map[string]string{
		"":                             "",
		"plain":                        "plain",
		"Grüße 世界":                     "Grüße 世界",
		"a\x1b[31mb\r\n\x00\x9b":       "a?[31mb????",
		"\u202eabc\u200b":              "?abc?",
		strings.Repeat("a", 20):        strings.Repeat("a", 20),
		strings.Repeat("a", 21):        strings.Repeat("a", 20) + "…",
		strings.Repeat("ü", 11):        strings.Repeat("ü", 10) + "…",
		"a" + strings.Repeat("ü", 10):  "a" + strings.Repeat("ü", 9) + "…",
		strings.Repeat("\x1b", 100000): strings.Repeat("?", 20) + "…",
		strings.Repeat("世", 100000):    strings.Repeat("世", 6) + "…",
	} {
		require.Equal(t, want, Clip(s, 20))
	}
}

func FuzzClip(f *testing.F) {
	for _, seed := range []string{"", "plain", "a\x1b[31mb\x00", strings.Repeat("ü", 100), strings.Repeat("a", 17) + "…x", "…"} {
		f.Add(seed, 20)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = min(max(limit, 0), 1000)
		got := Clip(s, limit)
		if len(got) > limit+len(more) || !utf8.ValidString(got) {
			t.Fatalf("%d bytes: %q", len(got), got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("not printable: %q", got)
		}
		if again := Clip(got, limit); again != got {
			t.Fatalf("%q became %q", got, again)
		}
	})
}
