package conf

import (
	"errors"
	"fmt"
	"strings"
)

// hidden replaces a secret in messages.
const hidden = "(secret)"

// Secret is a password: literal, in a file or in the environment. At most one field is set; the zero value is no
// password. Every way of formatting a Secret gives "(secret)".
type Secret struct {
	Value string // the password itself
	File  string // or a file with the password; a byte order mark and one line end after it are ignored
	Env   string // or an environment variable with the password
}

// Format keeps a secret out of every verb of package fmt.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalText keeps a secret out of JSON, and so out of logs.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Header is one line of an HTTP request. Its value may be a secret and is never formatted.
type Header struct{ Name, Value string }

// Format writes only the name.
func (h Header) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(h.Name + ": " + hidden)) }

// MarshalText is like Format.
func (h Header) MarshalText() ([]byte, error) { return []byte(h.Name + ": " + hidden), nil }

// secretType is text that no message shows.
func secretType() valueType[string] {
	k := bare(plainTextType()) // for comparison; maskSecret hides it
	k.secret = true
	return k
}

// plainTextType is text without NUL bytes.
func plainTextType() valueType[string] {
	return textType("string", func(s string) error {
		if strings.ContainsRune(s, 0) {
			return errors.New("NUL byte in the text")
		}
		return nil
	})
}

// maskSecret formats a secret for a plan: "none" if it is empty, else as.
func maskSecret(s, as string) string {
	switch s {
	case "", `""`, "[]", "none":
		return "none"
	}
	return as
}
