package conf

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxGlobNames limits the names that the patterns of one configuration are compared with or look up, and so the time that
// they take.
const maxGlobNames = 10000

// globber expands the patterns of include of one configuration.
type globber struct {
	left int   // how many more names may be compared or looked up; negative = too many were
	err  error // the first directory of the current pattern that could not be read
}

// glob returns the paths that match a pattern, sorted by name in each directory. As in a shell, a name that begins with
// a dot matches only a pattern that begins with a dot; this holds for each directory in the path. A directory that
// exists but cannot be read is an error, and so is one whose files belong to the kernel.
func (g *globber) glob(pattern string) ([]string, error) {
	g.err = nil
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
		seen := map[string]bool{} // "*/.." leads to one directory by each of its entries
		for _, dir := range paths {
			for _, path := range g.expand(dir, part) {
				if !seen[path] {
					seen[path] = true
					next = append(next, path)
				}
			}
		}
		switch {
		case g.err != nil:
			return nil, g.err
		case g.left < 0:
			return nil, fmt.Errorf("is compared with more than %d names", maxGlobNames)
		}
		paths = next
	}
	return paths, nil
}

// expand returns the paths in a directory that match one part of a pattern.
func (g *globber) expand(dir, part string) (paths []string) {
	if g.left < 0 || g.err != nil {
		return nil
	}
	if name, ok := literalName(part); ok { // also "." and "..", which no directory lists
		g.left--
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			paths = append(paths, path)
		}
		return paths
	}
	names, err := g.list(cmp.Or(dir, "."))
	switch {
	case errors.Is(err, errKernel):
		g.err = fmt.Errorf("leads to %s, whose files belong to the kernel", dir)
	case errors.Is(err, fs.ErrPermission):
		g.err = fmt.Errorf("matches nothing: cannot read directory %s: %w", cmp.Or(dir, "."), errorReason(err))
	}
	dotted := strings.HasPrefix(part, ".") || strings.HasPrefix(part, `\.`)
	for _, name := range names {
		if matched, _ := filepath.Match(part, name); matched && (dotted || name[0] != '.') {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths
}

// list returns the sorted names in a directory, at most one more than may still be compared.
func (g *globber) list(dir string) ([]string, error) {
	if ofKernel(dir) {
		return nil, errKernel
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(g.left + 1)
	g.left -= len(names)
	slices.Sort(names)
	return names, err
}

// errKernel is the error for directories of /proc and /sys. They have no end of names, their links lead to the files of all
// processes, and reading their files may block.
var errKernel = errors.New("directory of the kernel")

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
