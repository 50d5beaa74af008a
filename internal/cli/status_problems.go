package cli

// Problems in weir status.

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"weir/internal/status"
)

// showProblems writes each problem and its reason.
func showProblems(w io.Writer, problems []status.Problem) {
	k, width := paletteFor(w), widthOf(w)
	if len(problems) == 0 {
		fmt.Fprintln(w, k.severity("", "no problems"))
	}
	for i := range problems {
		if i == maxProblems {
			fmt.Fprintf(w, "%d more problems; --json shows all\n", len(problems)-i)
			break
		}
		p := &problems[i]
		for _, line := range wrap(problemText(p, width), 2, width, textLines) {
			fmt.Fprintln(w, k.severity(p.Severity, line))
		}
		most := width
		if p.Cluster == "" && width < math.MaxInt {
			most = configErrorLines * width
		}
		for line := range strings.SplitSeq(p.Reason, "\n") {
			if line != "" {
				fmt.Fprintln(w, cut("  "+line, most))
			}
		}
	}
}

// problemText returns a problem in one line, with the name of its cluster cut if it then fits into the width.
func problemText(p *status.Problem, width int) string {
	before, after := strings.ToUpper(p.Severity)+"  ", p.Text
	if p.Since != nil {
		after += " since " + moment(*p.Since)
	}
	if p.Cluster == "" {
		return before + after
	}
	after = ": " + after
	name := cell{plain(p.Cluster) + after, utf8.RuneCountInString(plain(p.Cluster))}
	if short := before + name.within(width-len(before)); utf8.RuneCountInString(short) <= width {
		return short
	}
	return before + p.Cluster + after
}

// maxProblems is the number of problems shown. The worst come first.
const maxProblems = 12

// configErrorLines bounds an error in the configuration. Its position is worth several terminal lines.
const configErrorLines = 4
