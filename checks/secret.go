package checks

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"weir/conf"
)

// Secret is a password: literal, in a file or in the environment. It prints as "(secret)" wherever it is formatted.
type Secret struct {
	Value string // the password itself
	File  string // or a file that holds it; one line end after it is not part of it
	Env   string // or an environment variable that holds it
}

func (Secret) String() string { return "(secret)" }

// GoString keeps a secret out of %#v.
func (Secret) GoString() string { return "(secret)" }

// maxSecret bounds a file with a password.
const maxSecret = 64 << 10

// read returns the password. The errors are those of the file, or that the variable is not set.
func (s Secret) read() (string, error) {
	switch {
	case s.File != "":
		b, err := conf.ReadFile(s.File, maxSecret)
		if err != nil {
			return "", OptionError{"password_file", err}
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
	case s.Env != "":
		v, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", OptionError{"password_env", fmt.Errorf("%s is not set", s.Env)}
		}
		return v, nil
	}
	return s.Value, nil
}

// redact takes a password out of what a server said: it may have repeated what it was told.
func redact(said, password string) string {
	if password == "" {
		return said
	}
	return strings.ReplaceAll(said, password, "***")
}

// shortSecret is the length from which something is looked for as a secret: what is shorter is in many words.
const shortSecret = 4

// redactReports keeps secrets out of what a monitor reports: a server may repeat what it was sent.
func redactReports(m Monitor, secrets ...string) Monitor {
	secrets = slices.DeleteFunc(secrets, func(s string) bool { return len(s) < shortSecret })
	if len(secrets) == 0 {
		return m
	}
	return func(ctx context.Context, t Target) (Report, error) {
		report, err := m(ctx, t)
		report.Detail = redactText(report.Detail, secrets)
		if err != nil {
			if text := redactText(err.Error(), secrets); text != err.Error() {
				err = &redactedError{text, err}
			}
		}
		return report, err
	}
}

// redactedError is an error in other words.
type redactedError struct {
	text string
	err  error
}

func (r *redactedError) Error() string { return r.text }
func (r *redactedError) Unwrap() error { return r.err }

// quoteCut is how a quote of a reply ends that goes on (see quote).
const quoteCut = "\"…"

// redactText is a text without secrets, neither whole nor cut off where a quote ends.
func redactText(text string, secrets []string) string {
	for _, s := range secrets {
		quoted := strconv.Quote(s)
		for _, s := range []string{s, quoted[1 : len(quoted)-1]} {
			text = strings.ReplaceAll(text, s, "***")
			parts := strings.SplitAfter(text, quoteCut)
			for i, part := range parts {
				said, whole := strings.CutSuffix(part, quoteCut)
				for n := len(s) - 1; whole && n >= shortSecret; n-- {
					if rest, found := strings.CutSuffix(said, s[:n]); found {
						parts[i] = rest + "***" + quoteCut
						break
					}
				}
			}
			text = strings.Join(parts, "")
		}
	}
	return text
}
