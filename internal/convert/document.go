package convert

import (
	"cmp"
	"fmt"
	"strings"

	"weir/internal/printable"
)

// Result is a translated configuration.
type Result struct {
	TOML     string
	Warnings int // lines without a counterpart whose effect is lost
}

// document is a configuration of weir that is being written.
type document struct {
	file     string // name of the configuration that is translated, for comments
	notes    []string
	runtime  table
	log      table
	tables   []*table // listeners and clusters, in order
	warnings int
}

// table is a TOML table with the comments before it.
type table struct {
	header string // such as "[[listener]]"
	notes  []string
	keys   []string // in order of their first assignment
	values map[string]string
}

// set assigns a value, written as TOML, to a key.
func (t *table) set(key, value string) {
	if t.values == nil {
		t.values = map[string]string{}
	}
	if _, known := t.values[key]; !known {
		t.keys = append(t.keys, key)
	}
	t.values[key] = value
}

// setText assigns a string unless it is empty.
func (t *table) setText(key, text string) {
	if text != "" {
		t.set(key, quote(text))
	}
}

func (t *table) comment(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

func (t *table) write(b *strings.Builder) {
	if len(t.keys) == 0 && len(t.notes) == 0 && strings.HasPrefix(t.header, "[") && !strings.HasPrefix(t.header, "[[") && !strings.HasPrefix(t.header, "[cluster.") {
		return // an empty [runtime] or [log]
	}
	b.WriteByte('\n')
	writeComments(b, t.notes)
	fmt.Fprintln(b, t.header)
	for _, k := range t.keys {
		fmt.Fprintf(b, "%s = %s\n", k, t.values[k])
	}
}

func writeComments(b *strings.Builder, notes []string) {
	for _, n := range notes {
		fmt.Fprintln(b, "# "+n)
	}
}

// add appends a table.
func (d *document) add(header string) *table {
	t := &table{header: header}
	d.tables = append(d.tables, t)
	return t
}

// origin is where a line of the original stands.
type origin struct {
	file string // "" = the document's
	line int
	text string
}

// kept is the comment that keeps a line of the original.
func (d *document) kept(o origin, reason string) string {
	return fmt.Sprintf("%s:%d: %s (%s)", printable.Clip(cmp.Or(o.file, d.file), 200), o.line, printable.Clip(strings.Join(strings.Fields(o.text), " "), 300), reason)
}

// explain keeps a line as a comment: nothing is lost without it.
func (d *document) explain(notes *[]string, o origin, reason string) {
	*notes = append(*notes, d.kept(o, reason))
}

// warn keeps a line as a comment: what it does is lost.
func (d *document) warn(notes *[]string, o origin, reason string) {
	d.warnings++
	*notes = append(*notes, "WARNING: "+d.kept(o, reason))
}

// result prints the document.
func (d *document) result() Result {
	var b strings.Builder
	fmt.Fprintf(&b, "# Translated from %s by weir convert.\n", printable.Clip(d.file, 200))
	writeComments(&b, d.notes)
	d.runtime.header, d.log.header = "[runtime]", "[log]"
	d.runtime.write(&b)
	d.log.write(&b)
	for _, t := range d.tables {
		t.write(&b)
	}
	return Result{TOML: b.String(), Warnings: d.warnings}
}

// clusterHeader returns the header of a table that contains the name of a cluster.
func clusterHeader(format, name string) string {
	if strings.ContainsRune(name, '.') {
		name = quote(name)
	}
	return fmt.Sprintf(format, name)
}

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// quoteList writes a TOML array of strings, or a single string for a key that takes both.
func quoteList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = quote(s)
	}
	if line := "[" + strings.Join(quoted, ", ") + "]"; len(line) <= 100 {
		return line
	}
	return "[\n  " + strings.Join(quoted, ",\n  ") + ",\n]"
}

// names makes names of weir from others, which are unique among those it has made.
type names map[string]bool

// make returns a valid name, and whether it differs from the one given.
func (n names) make(name string) (string, bool) {
	valid := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r) {
			return r
		}
		return '-'
	}, name)
	valid = valid[:min(len(valid), 60)]
	if valid == "" {
		valid = "unnamed"
	}
	unique := valid
	for i := 2; n[unique]; i++ {
		unique = fmt.Sprintf("%s-%d", valid, i)
	}
	n[unique] = true
	return unique, unique != name
}
