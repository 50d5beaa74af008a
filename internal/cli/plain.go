package cli

// Text of a response for a terminal: what answers at the address of the API may not be weir.

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// plain replaces characters that could control a terminal. Servers and agents can choose the text of reasons.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}

// makePlain makes all texts plain that v, a pointer, leads to, except the keys of maps, in each line.
func makePlain(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			makePlain(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			makePlain(v.Field(i))
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			makePlain(v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			makePlain(value)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		if !v.CanSet() || isPlainASCII(v.String()) {
			return
		}
		lines := strings.Split(v.String(), "\n")
		for i := range lines {
			lines[i] = plain(lines[i])
		}
		v.SetString(strings.Join(lines, "\n"))
	}
}

// isPlainASCII reports whether a text consists of printable ASCII characters, as most texts of thousands of servers do.
func isPlainASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// plainJSON escapes the characters of a JSON text that could control a terminal. The value of the text stays the same.
func plainJSON(text []byte) []byte {
	var out []byte // nil = nothing is escaped so far
	done := 0      // bytes of text that are in out
	for i := 0; i < len(text); {
		if text[i] < 0x7f { // most of a long text
			i++
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			out = append(out, text[done:i]...)
			if r > 0xffff {
				high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
				out = fmt.Appendf(out, "\\u%04x\\u%04x", high, low)
			} else {
				out = fmt.Appendf(out, "\\u%04x", r)
			}
			done = i + n
		}
		i += n
	}
	if out == nil {
		return text
	}
	return append(out, text[done:]...)
}
