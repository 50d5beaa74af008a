package fleet

import (
	"errors"
	"maps"
	"slices"

	"weir/internal/printable"
)

// Problems are the records that cannot be used, by key. The zero value is empty.
type Problems struct {
	texts map[string]string
	more  map[string]bool // beyond maxProblems, without their text
}

// Bounds of what foreign records can fill.
const (
	maxProblems     = 20
	maxMoreProblems = 1000
)

// Note keeps the problem of a key, or drops it if err is nil. It reports whether the problem is new.
func (p *Problems) Note(key string, err error) bool {
	if err == nil {
		delete(p.texts, key)
		delete(p.more, key)
		return false
	}
	text := err.Error()
	var located *Problem
	if errors.As(err, &located) {
		text = located.Text
	}
	text = printable.Clip(text, printable.MaxLine)
	if p.texts == nil {
		p.texts, p.more = map[string]string{}, map[string]bool{}
	}
	if old, ok := p.texts[key]; ok || len(p.texts) < maxProblems {
		delete(p.more, key)
		p.texts[key] = text
		return old != text
	}
	if len(p.more) < maxMoreProblems {
		p.more[key] = true
	}
	return false
}

// Retain drops the problems of the keys for which keep is false.
func (p *Problems) Retain(keep func(key string) bool) {
	maps.DeleteFunc(p.texts, func(key, _ string) bool { return !keep(key) })
	maps.DeleteFunc(p.more, func(key string, _ bool) bool { return !keep(key) })
}

// List returns the problems by key, and the number of further ones.
func (p *Problems) List() (list []Problem, more int) {
	for _, key := range slices.Sorted(maps.Keys(p.texts)) {
		list = append(list, Problem{key, p.texts[key]})
	}
	return list, len(p.more)
}
