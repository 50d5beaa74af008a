package conf

import (
	"errors"
	"fmt"
	"strings"
)

// incomplete is what stands for a secret wherever one could be shown.
const hidden = "(secret)"

// Secret is a password: literal, in a file or in the environment. At most one of the fields is set; the zero value is
// no password. Only the literal is kept from view, but however a Secret is printed, it prints as "(secret)".
type Secret struct {
	Value string // the password itself
	File  string // or a file that holds it; one line end after it is not part of it
	Env   string // or an environment variable that holds it
}

// Format keeps a secret out of every verb of package fmt.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalText keeps a secret out of JSON, and so out of logs.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Header is one line of an HTTP request. Its value may be a secret and is not printed.
type Header struct{ Name, Value string }

// Format prints the name alone.
func (h Header) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(h.Name + ": " + hidden)) }

// MarshalText is like Format.
func (h Header) MarshalText() ([]byte, error) { return []byte(h.Name + ": " + hidden), nil }

// secretType is text that no message shows.
func secretType() valueType[string] {
	k := plainTextType()
	k.secret = true
	k.show = func(s string) string { return s } // compared, and veiled by whoever tells of it
	return k
}

// plainTextType is text without NUL bytes.
func plainTextType() valueType[string] {
	return textType("string", func(s string) error {
		if strings.ContainsRune(s, 0) {
			return errors.New("a NUL byte in the text")
		}
		return nil
	})
}

// maskSecret is what is told of a secret that changes.
func maskSecret(s, as string) string {
	if s == "" {
		return "none"
	}
	return as
}
