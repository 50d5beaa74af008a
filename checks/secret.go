package checks

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"weir/conf"
	"weir/internal/procgroup"
)

// Secret is a password: literal, in a file or in the environment. It is formatted as "(secret)".
type Secret struct {
	Value string // the password itself
	File  string // or a file that contains it; a byte order mark and one line end after it are ignored
	Env   string // or an environment variable that contains it
}

func (Secret) String() string { return "(secret)" }

// GoString keeps a secret out of %#v.
func (Secret) GoString() string { return "(secret)" }

// maxSecret limits the size of a password file.
const maxSecret = 64 << 10

// Read returns the password, or an OptionError if the file cannot be read or the variable is not set.
func (s Secret) Read() (string, error) {
	switch {
	case s.File != "":
		b, err := conf.ReadFile(s.File, maxSecret)
		if err != nil {
			return "", OptionError{"password_file", err}
		}
		text, ended := strings.CutSuffix(string(b), "\n")
		if ended {
			text = strings.TrimSuffix(text, "\r")
		}
		return text, nil
	case s.Env != "":
		v, ok := procgroup.TakeSecret(s.Env)
		if !ok {
			return "", OptionError{"password_env", fmt.Errorf("%s is not set", s.Env)}
		}
		return v, nil
	}
	return s.Value, nil
}

// redact removes a password from text that a server sent, because a server may repeat it. A short password is also part
// of many words: one of less than 8 bytes is removed only as a whole word, one of less than 4 only in quotes.
func redact(text, password string) string {
	if password == "" {
		return text
	}
	var out strings.Builder
	kept, from := 0, 0
	for {
		i := strings.Index(text[from:], password)
		if i < 0 {
			break
		}
		i += from
		end := i + len(password)
		if !isWhole(text[:i], text[end:], len(password)) {
			from = i + 1
			continue
		}
		out.WriteString(text[kept:i])
		out.WriteString(mask)
		kept, from = end, end
	}
	out.WriteString(text[kept:])
	return out.String()
}

// longSecret is the length from which a secret is not expected to be part of a word.
const longSecret = 8

// isWhole reports whether a secret of a length between two texts is a value of its own.
func isWhole(before, after string, length int) bool {
	last, _ := utf8.DecodeLastRuneInString(before)
	first, _ := utf8.DecodeRuneInString(after)
	switch {
	case length >= longSecret:
		return true
	case length >= shortSecret:
		return !isWordRune(last) && !isWordRune(first)
	}
	return last == first && (first == '"' || first == '\'' || first == '`')
}

func isWordRune(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_')
}

// shortSecret is the length up to which a secret is expected to be a word, or part of one, by chance.
const shortSecret = 4

// loginCommands are the words of text protocols after which credentials follow.
var loginCommands = []string{"AUTH", "PASS", "PASSWORD", "LOGIN", "AUTHENTICATE", "AUTHORIZATION:"}

// sentSecrets returns what steps send after a command that logs in. Servers repeat the arguments of commands in their errors.
func sentSecrets(steps []conf.Step) (secrets []string) {
	for _, s := range steps {
		login := false
		for word := range strings.FieldsSeq(string(s.Send)) {
			if login {
				secrets = append(secrets, word)
			}
			login = login || slices.Contains(loginCommands, strings.ToUpper(word))
		}
	}
	return secrets
}

// replacedError is an error with another text.
type replacedError struct {
	text string
	err  error
}

func (r *replacedError) Error() string { return r.text }
func (r *replacedError) Unwrap() error { return r.err }

// quoteCut is the end of a quotation that was cut (see quote).
const quoteCut = "\"…"

// redactText removes secrets from a text, also where a quotation was cut within one.
func redactText(text string, secrets []string) string {
	for _, s := range secrets {
		quoted := strconv.Quote(s)
		for _, s := range []string{s, quoted[1 : len(quoted)-1]} {
			text = redact(text, s)
			parts := strings.SplitAfter(text, quoteCut)
			for i, part := range parts {
				body, cut := strings.CutSuffix(part, quoteCut)
				for n := len(s) - 1; cut && n >= shortSecret; n-- {
					if rest, found := strings.CutSuffix(body, s[:n]); found {
						parts[i] = rest + mask + quoteCut
						break
					}
				}
			}
			text = strings.Join(parts, "")
		}
	}
	return text
}
