package conf

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxGlobNames limits the names that one pattern is compared with.
const maxGlobNames = 100000

// globber expands one pattern of include.
type globber struct {
	compared int   // names
	err      error // the first directory that could not be read
}

// glob returns the paths that match a pattern, sorted by name in each directory. As in a shell, a name that begins with
// a dot matches only a pattern that begins with a dot; this holds for each directory in the path. A directory that
// exists but cannot be read is an error.
func glob(pattern string) ([]string, error) {
	var g globber
	paths := []string{""}
	if filepath.IsAbs(pattern) {
		paths = []string{"/"}
	}
	for part := range strings.SplitSeq(pattern, "/") {
		if part == "" {
			continue
		}
		if _, err := filepath.Match(part, ""); err != nil {
			return nil, errors.New("is not a pattern: unpaired brackets or a \\ at its end")
		}
		var next []string
		for _, dir := range paths {
			next = append(next, g.expand(dir, part)...)
		}
		paths = next
	}
	return paths, g.err
}

// expand returns the paths in a directory that match one part of a pattern.
func (g *globber) expand(dir, part string) (paths []string) {
	if name, ok := literalName(part); ok { // also "." and "..", which no directory lists
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			paths = append(paths, path)
		}
		return paths
	}
	entries, err := os.ReadDir(cmp.Or(dir, "."))
	if g.err == nil && errors.Is(err, fs.ErrPermission) {
		g.err = fmt.Errorf("matches nothing: cannot read directory %s: %w", cmp.Or(dir, "."), errorReason(err))
	}
	dotted := strings.HasPrefix(part, ".") || strings.HasPrefix(part, `\.`)
	for _, e := range entries {
		if g.compared++; g.compared > maxGlobNames {
			g.err = fmt.Errorf("is compared with more than %d names", maxGlobNames)
			return nil
		}
		if matched, _ := filepath.Match(part, e.Name()); matched && (dotted || e.Name()[0] != '.') {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths
}

// literalName returns the only name that a part of a pattern can match, if it has no wildcard.
func literalName(part string) (name string, ok bool) {
	var out []byte
	for i := 0; i < len(part); i++ {
		switch part[i] {
		case '*', '?', '[':
			return "", false
		case '\\':
			i++ // the pattern is valid, so a byte follows
		}
		out = append(out, part[i])
	}
	return string(out), true
}

// escapePattern escapes a directory's name so that it matches only itself.
func escapePattern(dir string) string {
	var out []byte
	for _, c := range []byte(dir) {
		if bytes.IndexByte([]byte(`*?[\`), c) >= 0 {
			out = append(out, '\\')
		}
		out = append(out, c)
	}
	return string(out)
}
