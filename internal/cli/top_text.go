package cli

// Text that fits into lines of a given width.

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// part is one part of a line. Of parts that do not all fit, those with the highest rank are left out.
type part struct {
	text string
	rank int
}

// joinParts returns the parts that fit into width, in their order.
func joinParts(parts []part, separator string, width int) string {
	for {
		texts := make([]string, 0, len(parts))
		worst := 0
		for i, p := range parts {
			texts = append(texts, plain(p.text))
			if p.rank >= parts[worst].rank {
				worst = i
			}
		}
		line := strings.Join(texts, separator)
		if utf8.RuneCountInString(line) <= width || len(parts) < 2 {
			return cut(line, width)
		}
		parts = append(parts[:worst:worst], parts[worst+1:]...)
	}
}

// maxWrapped bounds a text that is broken into lines, in characters.
const maxWrapped = 4000

// wrapText breaks text into lines of at most width characters, between words where that is possible. Lines after the first begin with
// indent.
func wrapText(text, indent string, width int) []string {
	room := max(1, width)
	var lines []string
	line := ""
	flush := func() {
		lines = append(lines, line)
		line = indent
		if room <= len(indent) { // too narrow to indent
			line = ""
		}
	}
	for word := range strings.FieldsSeq(cut(text, maxWrapped)) {
		used := utf8.RuneCountInString(line)
		gap := 0
		if strings.TrimLeft(line, " ") != "" {
			gap = 1
		}
		if gap > 0 && used+gap+utf8.RuneCountInString(word) > room {
			flush()
			used, gap = utf8.RuneCountInString(line), 0
		}
		line += strings.Repeat(" ", gap)
		used += gap
		for used+utf8.RuneCountInString(word) > room {
			runes := []rune(word)
			n := room - used
			line += string(runes[:n])
			word = string(runes[n:])
			flush()
			used = utf8.RuneCountInString(line)
		}
		line += word
	}
	return append(lines, line)
}

// fit cuts or pads text to wide characters.
func fit(text string, wide int, right bool) string {
	text = cut(text, wide)
	pad := strings.Repeat(" ", max(0, wide-utf8.RuneCountInString(text)))
	if right {
		return pad + text
	}
	return text + pad
}

// shortName returns CLUSTER/SERVER in at most width characters. It shortens the cluster before the server.
func shortName(cluster, server string, width int) string {
	const leastCluster = 4
	over := utf8.RuneCountInString(cluster) + 1 + utf8.RuneCountInString(server) - width
	if keep := utf8.RuneCountInString(cluster) - over; over > 0 && utf8.RuneCountInString(cluster) > leastCluster {
		cluster = cut(cluster, max(leastCluster, keep))
	}
	return cut(cluster+"/"+server, width)
}

// perSecond formats a rate in at most five characters.
func perSecond(f float64) string {
	if f < 9.95 {
		return fmt.Sprintf("%.1f", f)
	}
	return size(uint64(f + 0.5))
}
