// Package nginxconf reads configurations of nginx into directives with their positions. It knows the syntax and include,
// and nothing about what directives mean.
package nginxconf

import (
	"fmt"
	"path/filepath"
	"strings"

	"weir/conf"
)

// Directive is a directive: a name, its arguments, and the directives of its block.
type Directive struct {
	Name  string
	Args  []string
	Block []*Directive // nil without a block
	File  string       // as named by the reader
	Line  int          // counted from 1
}

// Arg returns an argument, or "".
func (d *Directive) Arg(i int) string {
	if i < len(d.Args) {
		return d.Args[i]
	}
	return ""
}

// Text returns the directive as one line, without its block.
func (d *Directive) Text() string {
	s := strings.Join(append([]string{d.Name}, d.Args...), " ")
	if d.Block != nil {
		return s + " { … }"
	}
	return s
}

// The limits of a configuration.
const (
	maxDepth = 32       // of blocks and of includes
	maxFiles = 1000     // with included ones
	maxBytes = 16 << 20 // of all files together
)

// ReadFile reads a file, and in place of each include the files that match its pattern, in the order of their names.
// Relative patterns start at the directory of the first file. Errors name the file and line.
func ReadFile(path string) ([]*Directive, error) {
	r := &reader{root: filepath.Dir(path), left: maxBytes}
	return r.file(path, 0)
}

// Parse reads a text; includes stay directives. name is the file of the directives and of errors.
func Parse(name, text string) ([]*Directive, error) {
	if len(text) > maxBytes {
		return nil, fmt.Errorf("%s: longer than %d bytes", name, maxBytes)
	}
	p := parser{file: name, text: text, line: 1}
	return p.block(0)
}

type reader struct {
	root  string
	files int
	left  int
}

func (r *reader) file(path string, depth int) ([]*Directive, error) {
	if r.files++; r.files > maxFiles {
		return nil, fmt.Errorf("%s: more than %d files are included", path, maxFiles)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: includes are nested more than %d deep", path, maxDepth)
	}
	text, err := conf.ReadFile(path, int64(r.left))
	if err != nil {
		return nil, err
	}
	r.left -= len(text)
	list, err := Parse(path, string(text))
	if err != nil {
		return nil, err
	}
	return r.include(list, depth)
}

// include replaces includes by what they include.
func (r *reader) include(list []*Directive, depth int) ([]*Directive, error) {
	var all []*Directive
	for _, d := range list {
		if d.Name != "include" || len(d.Args) != 1 {
			var err error
			if d.Block != nil {
				if d.Block, err = r.include(d.Block, depth); err != nil {
					return nil, err
				}
			}
			all = append(all, d)
			continue
		}
		pattern := d.Args[0]
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(r.root, pattern)
		}
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: include %s: %w", d.File, d.Line, d.Args[0], err)
		}
		if len(paths) == 0 && !strings.ContainsAny(pattern, "*?[") {
			return nil, fmt.Errorf("%s:%d: include %s: no such file", d.File, d.Line, d.Args[0])
		}
		for _, path := range paths {
			included, err := r.file(path, depth+1)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", d.File, d.Line, err)
			}
			all = append(all, included...)
		}
	}
	return all, nil
}
