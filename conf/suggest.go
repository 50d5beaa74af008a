package conf

import (
	"maps"
	"slices"
	"strings"
	"unicode"
)

// Nearest returns the name that was most likely meant by a word, or "".
func Nearest(word string, names []string) string { return nearest(word, names, nil) }

// nearest returns the legal word that was most likely meant, or "". aliases maps words of other programs to legal words
// ("leastconn" to least_sessions); a word near an alias counts as near the legal word.
func nearest(word string, legal []string, aliases map[string]string) string {
	if len(word) > 100 {
		return ""
	}
	word = fold(word)
	best, least := "", 1<<30
	try := func(candidate, stands string) {
		candidate = fold(candidate)
		if limit := max(len(candidate)/3, 1); len(candidate)-len(word) > limit || len(word)-len(candidate) > limit {
			return
		}
		d := distance(word, candidate)
		// A third of the letters may differ, and at least one in words of three or more.
		if d < least && d <= max(len(candidate)/3, min(1, len(candidate)/3)) && d < len(word) {
			best, least = stands, d
		}
	}
	for _, w := range legal {
		try(w, w)
	}
	for _, w := range sortedKeys(aliases) {
		try(w, aliases[w])
	}
	if best == "" { // a word with more or fewer parts, such as server_level for level
		for _, w := range legal {
			if len(w) > 3 && (strings.HasPrefix(word, fold(w)) || len(word) > 3 && strings.HasPrefix(fold(w), word)) {
				return w
			}
		}
	}
	return best
}

// fold removes differences of case and separators.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == ' ' {
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}

// distance returns the number of insertions, deletions, replacements and swaps of neighbours that turn a into b
// (optimal string alignment).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			change := 1
			if x[i-1] == y[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}

// didYouMean returns the end of a message: `; did you mean "web"?`, or "".
func didYouMean(suggestion string) string {
	if suggestion == "" {
		return ""
	}
	return "; did you mean \"" + suggestion + "\"?"
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
