package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"weir/internal/printable"
)

// Version is the version of the values that this program writes and reads.
const Version = 1

// Problem is a record that cannot be used.
type Problem struct {
	Key  string
	Text string
}

func (p *Problem) Error() string { return printable.Clip(p.Key, printable.MaxQuote) + ": " + p.Text }

// Encode returns a value for the store: the JSON object of v with the version first. It is an error if the value is larger
// than most, which is MaxValue or MaxConfig, or if v is not an object.
func Encode(v any, most int) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	object := bytes.TrimSpace(b.Bytes())
	if len(object) < 2 || object[0] != '{' {
		return nil, errors.New("want a JSON object")
	}
	value := fmt.Appendf(nil, `{"v":%d`, Version)
	if len(object) > 2 {
		value = append(value, ',')
	}
	value = append(value, object[1:]...)
	if len(value) > most {
		return nil, fmt.Errorf("want at most %d bytes, got %d", most, len(value))
	}
	return value, nil
}

// Decode decodes a value that Encode has made, into a pointer to a struct. Keys that it lacks are ignored: they are of a
// program that is newer and writes the same version. The error is a *Problem. The caller checks the bounds of numbers and
// lists.
func Decode(r Record, most int, v any) error {
	problem := func(format string, args ...any) error {
		return &Problem{Key: r.Key, Text: fmt.Sprintf(format, args...)}
	}
	if size := max(r.Size, len(r.Value)); size > most {
		return problem("want at most %d bytes, got %d", most, size)
	}
	var head struct {
		V *int `json:"v"`
	}
	switch err := json.Unmarshal(r.Value, &head); {
	case !utf8.Valid(r.Value):
		return problem("the value is not UTF-8")
	case err != nil:
		return problem("the value is not a JSON object with a version: %s", printable.Clip(err.Error(), printable.MaxQuote))
	case head.V == nil:
		return problem("v: missing")
	case *head.V != Version:
		return problem("v: want %d, got %d", Version, *head.V)
	}
	if err := json.Unmarshal(r.Value, v); err != nil {
		return problem("%s", printable.Clip(err.Error(), printable.MaxQuote))
	}
	return nil
}
