package weir

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
)

// bannedTerms are single words that name a standard thing by a metaphor or a process by a pronoun for people. They are
// found in prose and as a part of identifiers, in singular and plural.
var bannedTerms = []string{
	"anew", "door", "everybody", "farewell", "forsake", "heir", "hopeful", "inlet", "mailbox", "mailroom", "newcomer",
	"nobody", "outbox", "parcel", "somebody", "whoever", "whomever",
}

// bannedPhrases are found in prose, across line breaks too.
var bannedPhrases = regexp.MustCompile(`\b(?:as\s+\w+\s+as\s+may\s+be|(?:is|are|was|were)\s+to\s+be|` +
	`(?:go|goes|going|gone|went)\s+over\s+to|(?:told|warned)\s+of|turn(?:s|ed|ing)?\s+away|hand-over|hears?\s+of)\b`)

// allowedTerms are the places where a banned term stands for something else.
var allowedTerms = []allowance{
	{regexp.MustCompile(`^language_test\.go$`), regexp.MustCompile(``), "the list itself"},
	{regexp.MustCompile(``), regexp.MustCompile(`(?i)user.*nobody|nobody.*(?:user|[ug]id)|"nobody"`), "the Unix user"},
}

type allowance struct {
	path, line *regexp.Regexp
	reason     string
}

// commitsSince is the author date from which on commit subjects are checked; older commits precede the rule.
const commitsSince = "2026-11-29T14:45:00Z"

var (
	commentMark   = regexp.MustCompile(`(?m)^[ \t]*(?://|#|\*|>)`)
	commitSubject = regexp.MustCompile(`^[a-z0-9][a-z0-9_./{},* -]*: [^A-Z\s].*[^.]$`)
)

// findBanned returns the banned terms in a text and the number of their line, from 1. The marks that start comment lines
// count as blanks, so that a phrase is found across them.
func findBanned(path, text string) (lines []int, terms []string) {
	found := map[int]string{}                // by offset
	lower := strings.Map(func(r rune) rune { // ASCII only, which keeps offsets
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
	for _, term := range bannedTerms {
		for at := 0; ; at += len(term) {
			next := strings.Index(lower[at:], term)
			if next < 0 {
				break
			}
			if at += next; isWord(text, at, len(term)) {
				found[at] = text[at : at+len(term)]
			}
		}
	}
	blank := commentMark.ReplaceAllStringFunc(lower, func(s string) string { return strings.Repeat(" ", len(s)) })
	for _, at := range bannedPhrases.FindAllStringIndex(blank, -1) {
		found[at[0]] = strings.Join(strings.Fields(blank[at[0]:at[1]]), " ")
	}
	for _, at := range slices.Sorted(maps.Keys(found)) {
		start := strings.LastIndexByte(text[:at], '\n') + 1
		line, _, _ := strings.Cut(text[start:], "\n")
		if !slices.ContainsFunc(allowedTerms, func(a allowance) bool { return a.path.MatchString(path) && a.line.MatchString(line) }) {
			lines = append(lines, strings.Count(text[:at], "\n")+1)
			terms = append(terms, found[at])
		}
	}
	return lines, terms
}

// isWord reports whether the n bytes at an offset are a word, or a part of a camel-case identifier, in singular or plural.
func isWord(text string, at, n int) bool {
	letter := func(i int) bool { return i >= 0 && i < len(text) && unicode.IsLetter(rune(text[i])) }
	upper := func(i int) bool { return i >= 0 && i < len(text) && unicode.IsUpper(rune(text[i])) }
	if letter(at-1) && !(upper(at) && !upper(at-1)) {
		return false
	}
	end := at + n
	if end < len(text) && text[end] == 's' {
		end++
	}
	return !letter(end) || upper(end) && !upper(end-1)
}

func TestFindBanned(t *testing.T) {
	for text, want := range map[string][]string{
		"the doorway is open":              nil,
		"Doors and a door":                 {"Door", "door"},
		"func openDoor() { doorKeeper() }": {"Door", "door"},
		"// it is\n\t// to be seen":        {"is to be"},
		"it goes over to the other":        {"goes over to"},
		"runs as user nobody":              nil,
	} {
		_, got := findBanned("x.go", text)
		require.Equal(t, want, got, text)
	}
}

// TestLanguage fails on banned terms in code, comments, documents and messages.
func TestLanguage(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path != "." && strings.HasPrefix(entry.Name(), ".") || path == "bin" || path == "bench/results" {
				return filepath.SkipDir
			}
			return nil
		}
		switch filepath.Ext(path) {
		case ".go", ".md", ".toml", ".yaml", ".yml", ".json", ".txt", ".html", ".js", ".css", ".sh", ".service", ".logrotate", "":
		default:
			return nil
		}
		if entry.Name() == "LICENSE" || !entry.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines, terms := findBanned(filepath.ToSlash(path), string(text))
		for i, line := range lines {
			t.Errorf("%s:%d: banned: %q", path, line, terms[i])
		}
		return nil
	})
	require.NoError(t, err)
}

// TestCommitSubjects checks the subjects of recent commits, as far as the clone has them: "pkg: verb object", at most 72
// characters.
func TestCommitSubjects(t *testing.T) {
	if _, err := os.Stat(".git"); err != nil {
		t.Skip("not a git work tree")
	}
	out, err := exec.Command("git", "log", "--no-merges", "--since="+commitsSince, "--format=%at %h %s").Output()
	if err != nil {
		t.Skip("git log:", err)
	}
	since, err := time.Parse(time.RFC3339, commitsSince)
	require.NoError(t, err)
	for line := range strings.Lines(string(out)) {
		authored, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		hash, subject, _ := strings.Cut(rest, " ")
		if at, err := strconv.ParseInt(authored, 10, 64); err != nil || at < since.Unix() { // a rebase changes only the commit date
			continue
		}
		if len([]rune(subject)) > 72 {
			t.Errorf("%s: longer than 72 characters: %q", hash, subject)
		}
		if !commitSubject.MatchString(subject) {
			t.Errorf("%s: want \"pkg: verb object\", got %q", hash, subject)
		}
		if _, terms := findBanned("commit", subject); len(terms) > 0 {
			t.Errorf("%s: banned: %q", hash, terms)
		}
	}
}
