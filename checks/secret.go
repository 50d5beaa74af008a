package checks

import (
	"fmt"
	"os"
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
