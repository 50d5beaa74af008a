// Command man makes a manual page of a Markdown text: man NAME SECTION TITLE < text.md > page. It knows what the texts of
// this repository use: headings, paragraphs, lists, tables, code, links.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: man NAME SECTION TITLE < text.md > page")
		os.Exit(1)
	}
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		out := bufio.NewWriter(os.Stdout)
		page(out, os.Args[1], os.Args[2], os.Args[3], string(text))
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

// writer writes one page.
type writer struct {
	out  io.Writer
	para []string // the lines of the paragraph, list item or table cell so far
	lead string   // what stands before it
	head []string // the header of the table that is read; nil = none is
}

// page writes a page. A first heading of the text gives way to NAME.
func page(out io.Writer, name, section, title, text string) {
	fmt.Fprintf(out, ".TH %s %s \"\" weir\n.SH NAME\n%s \\- %s\n", strings.ToUpper(name), section, escape(name), escape(title))
	w := &writer{out: out}
	code, first := "", true
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n ")
		bare := strings.TrimSpace(line)
		switch {
		case code != "":
			if strings.HasPrefix(bare, "```") {
				fmt.Fprint(out, ".fi\n.RE\n")
				code = ""
				continue
			}
			fmt.Fprintln(out, guard(escape(strings.TrimPrefix(line, code[3:]))))
		case strings.HasPrefix(bare, "```"):
			w.flush()
			code = "```" + line[:len(line)-len(strings.TrimLeft(line, " "))] // lines are indented as the fence is
			fmt.Fprint(out, ".PP\n.RS 4\n.nf\n")
		case strings.HasPrefix(line, "    ") && w.para == nil && w.head == nil:
			fmt.Fprintf(out, ".RS 4\n.nf\n%s\n.fi\n.RE\n", guard(escape(line[4:])))
		case strings.HasPrefix(line, "#"):
			w.flush()
			heading := strings.TrimLeft(line, "# ")
			switch level := strings.Index(line, " "); {
			case first && level == 1:
				fmt.Fprint(out, ".SH DESCRIPTION\n")
			case level <= 2:
				fmt.Fprintf(out, ".SH %s\n", quote(inline(heading)))
			default:
				fmt.Fprintf(out, ".SS %s\n", quote(inline(heading)))
			}
			first = false
		case bare == "" || strings.HasPrefix(bare, "<!--"):
			w.flush()
		case strings.HasPrefix(line, "|"):
			w.row(line)
		case strings.HasPrefix(bare, "* "):
			w.flush()
			w.lead = ".IP \\(bu 2\n"
			w.para = []string{bare[2:]}
		default:
			if w.para == nil {
				w.lead = ".PP\n"
			}
			w.para = append(w.para, bare)
		}
	}
	w.flush()
}

// flush ends the paragraph or the table.
func (w *writer) flush() {
	if w.para != nil {
		fmt.Fprint(w.out, w.lead, guard(inline(strings.Join(w.para, " "))), "\n")
	}
	w.para, w.head = nil, nil
}

// row writes a row of a table: what its first cell names, with the others below.
func (w *writer) row(line string) {
	cells := regexp.MustCompile(`(?:[^|\\]|\\.)+`).FindAllString(strings.Trim(line, "|"), -1)
	for i := range cells {
		cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), `\|`, "|")
	}
	switch {
	case w.head == nil:
		w.flush()
		w.head = cells
		return
	case strings.Trim(line, "|-: ") == "":
		return
	}
	name, rest := cells[0], cells[1:]
	if len(w.head) == 4 && w.head[0] == "key" {
		usual := rest[1]
		if usual != "required" {
			usual = "default " + usual
		}
		name += " (" + rest[0] + "; " + usual + ")"
		rest = rest[2:]
	}
	fmt.Fprintf(w.out, ".TP\n%s\n%s\n", guard(inline(name)), guard(inline(strings.Join(rest, " \u2013 "))))
}

// inline writes what stands in a line: code and strong words in bold, links as their text.
func inline(s string) string {
	s = regexp.MustCompile(`\[([^\]]+)\]\([^)]+\)`).ReplaceAllString(s, "$1")
	var b strings.Builder
	for i, part := range strings.Split(s, "`") {
		switch {
		case i%2 == 1:
			b.WriteString(`\fB` + escape(part) + `\fR`)
		default:
			for j, p := range strings.Split(part, "**") {
				if j%2 == 1 {
					b.WriteString(`\fB` + escape(p) + `\fR`)
				} else {
					b.WriteString(escape(p))
				}
			}
		}
	}
	return b.String()
}

// escape keeps the formatter from seeing more in a text than there is.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "^", `\(ha`, "~", `\(ti`, "`", `\(ga`, "'", `\(aq`).Replace(s)
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}

// guard keeps a line from being taken for a request.
func guard(s string) string {
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		return `\&` + s
	}
	return s
}

func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\(dq`) + `"` }
