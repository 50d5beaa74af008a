package convert

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// line is a line of an HAProxy configuration.
type line struct {
	number   int
	text     string // as written
	words    []string
	variable bool // it has an environment variable, which only the host of HAProxy knows
}

func (l *line) origin() origin { return origin{line: l.number, text: l.text} }

// word returns a word of the line, or "".
func (l *line) word(i int) string {
	if i < len(l.words) {
		return l.words[i]
	}
	return ""
}

// starts reports whether the line begins with these words.
func (l *line) starts(words ...string) bool {
	return len(l.words) >= len(words) && slices.Equal(l.words[:len(words)], words)
}

// section is a section of an HAProxy configuration with its lines.
type section struct {
	kind, name string
	head       line
	lines      []line
	defaults   *section // of a proxy
}

// sectionWords begin sections.
var sectionWords = []string{
	"global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist", "mailers", "program", "cache", "ring",
	"http-errors", "fcgi-app", "log-forward", "log-profile", "traces", "crt-store", "acme",
}

// readHAProxy reads the sections of a configuration. Proxies refer to their defaults section: the one they name with
// "from", else the last one before them.
func readHAProxy(text string) ([]*section, error) {
	var all []*section
	var last *section
	named := map[string]*section{}
	for i, s := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		l, err := readWords(s)
		l.number = i + 1
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", l.number, err)
		}
		if len(l.words) == 0 {
			continue
		}
		if !slices.Contains(sectionWords, l.words[0]) {
			if len(all) == 0 {
				return nil, fmt.Errorf("line %d: %q is outside of a section: is this a configuration of HAProxy?", l.number, l.words[0])
			}
			current := all[len(all)-1]
			current.lines = append(current.lines, l)
			continue
		}
		current := &section{kind: l.words[0], name: l.word(1), head: l}
		all = append(all, current)
		switch current.kind {
		case "defaults":
			if current.name == "from" {
				current.name = ""
			}
			last = current
			named[current.name] = current
		case "frontend", "backend", "listen":
			current.defaults = last
		default:
			continue
		}
		if at := slices.Index(l.words, "from"); at > 0 {
			from := named[l.word(at+1)]
			if from == nil {
				return nil, fmt.Errorf("line %d: no defaults section %q before this line", l.number, l.word(at+1))
			}
			if current != from {
				current.defaults = from
			}
		}
	}
	return all, nil
}

// readWords splits a line into words as HAProxy does: quotes, backslashes and comments.
func readWords(s string) (l line, err error) {
	l.text = s
	var word []byte
	inWord := false
	quoted := byte(0)
	end := func() {
		if inWord {
			l.words = append(l.words, string(word))
			word, inWord = nil, false
		}
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quoted == '\'':
			if c == '\'' {
				quoted = 0
			} else {
				word = append(word, c)
			}
		case c == '\\':
			n, b := escaped(s[i+1:])
			word = append(word, b...)
			inWord = true
			i += n
		case c == quoted:
			quoted = 0
		case c == '"' || c == '\'' && quoted == 0:
			quoted, inWord = c, true
		case c == '$' && quoted == '"':
			l.variable = true
			word = append(word, c)
		case quoted != 0:
			word = append(word, c)
		case c == '#':
			l.text = s[:i]
			end()
			return l, nil
		case c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r':
			end()
		default:
			word, inWord = append(word, c), true
		}
	}
	if quoted != 0 {
		return l, fmt.Errorf("a quotation that begins with %c has no end", quoted)
	}
	end()
	return l, nil
}

// escaped returns the bytes for what follows a backslash, and how many characters of it they take.
func escaped(s string) (int, []byte) {
	if s == "" {
		return 0, nil
	}
	switch s[0] {
	case 'n':
		return 1, []byte{'\n'}
	case 'r':
		return 1, []byte{'\r'}
	case 't':
		return 1, []byte{'\t'}
	case 'x':
		if len(s) >= 3 {
			if b, err := hex.DecodeString(s[1:3]); err == nil {
				return 3, b
			}
		}
	}
	return 1, []byte{s[0]}
}
