// Command man converts a Markdown text to a manual page: man NAME SECTION TITLE <text.md >page. go-md2man renders the
// page; tables become lists of tagged paragraphs first, because wide tables do not fit a terminal.
package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: man NAME SECTION TITLE <text.md >page")
		os.Exit(1)
	}
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		_, err = os.Stdout.Write(page(os.Args[1], os.Args[2], os.Args[3], string(text)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

var (
	link = regexp.MustCompile(`\[([^\]]+)\]\([^)]+\)`)
	cell = regexp.MustCompile(`(?:[^|\\]|\\.)+`)
)

// page renders a manual page. NAME and DESCRIPTION replace the first heading of the text; links become their text.
func page(name, section, title, text string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s %s \"\" weir\n## NAME\n%s - %s\n", strings.ToUpper(name), section, name, title)
	var head []string // of the current table
	code, first, margin := false, true, ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		indent, word, fence := strings.Cut(line, "```")
		fence = fence && strings.TrimSpace(indent) == "" && !strings.Contains(word, "`")
		// The parser wants four spaces where the texts have two, no language after a fence in a list, and a block between a
		// list and a fence that does not belong to it.
		switch {
		case fence && code:
			line, code = margin+line, false
		case fence && indent == "":
			line, code, margin = "<!-- code -->\n\n```", true, ""
		case fence:
			line, code, margin = indent+indent+"```", true, indent
		case code:
			line = margin + line
		case strings.HasPrefix(line, "  "):
			line = "  " + line
		case strings.HasPrefix(line, "* "):
			line = "\n" + line
		case first && strings.HasPrefix(line, "# "):
			line, first = "## DESCRIPTION", false
		}
		table := !code && strings.HasPrefix(line, "|")
		switch {
		case table && head == nil:
			head, line = cells(line), ""
		case table:
			line = definition(head, line)
		default:
			head = nil
		}
		if !code {
			line = link.ReplaceAllString(line, "$1")
		}
		b.WriteString(line + "\n")
	}
	return md2man.Render([]byte(b.String()))
}

// definition turns a row of a table into an entry of a definition list: its first cell defined by the others.
func definition(head []string, row string) string {
	if strings.Trim(row, "|-: ") == "" {
		return ""
	}
	list := cells(row)
	term, rest := list[0], list[1:]
	if len(head) == 4 && head[0] == "key" {
		value := rest[1]
		if value != "required" {
			value = "default " + value
		}
		term += " (" + rest[0] + "; " + value + ")"
		rest = rest[2:]
	}
	return "\n" + term + "\n: " + strings.Join(rest, " – ")
}

func cells(row string) []string {
	list := cell.FindAllString(strings.Trim(row, "|"), -1)
	for i := range list {
		list[i] = strings.ReplaceAll(strings.TrimSpace(list[i]), `\|`, "|")
	}
	return list
}
