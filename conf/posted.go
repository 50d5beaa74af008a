package conf

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"weir/conf/internal/tree"
)

// Posted is the text of a configuration in a request.
type Posted struct {
	Path     string // stands for the text in messages; includes are relative to its directory
	Text     []byte
	Included []SourceFile // the files that the text includes; nil = they are on this host
	Shared   *Shared      // replaces the listeners and clusters of the text; nil = none
	Below    string       // without Included: the only directory from which files may be included
}

// SourceFile is a file of a configuration.
type SourceFile struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

// PlanRequestType is the media type of a PlanRequest.
const PlanRequestType = "application/vnd.weir.plan+json"

// PlanRequest is the body of a request for a plan with all files of a configuration.
type PlanRequest struct {
	Text     string       `json:"text"`
	Included []SourceFile `json:"included"` // not nil
}

// ParsePosted is Parse for a request. It reads no file outside of Below, so that its errors show no other file.
func ParsePosted(p Posted) (*Config, error) {
	if p.Included == nil {
		return parse(p.Path, p.Path, p.Text, p.Shared, newReader(), includedBelow(p.Below))
	}
	r := newReader()
	r.texts = make(map[string][]byte, len(p.Included))
	paths := make([]string, len(p.Included))
	for i, f := range p.Included {
		paths[i], r.texts[f.Path] = f.Path, []byte(f.Text)
	}
	return parse(p.Path, p.Path, p.Text, p.Shared, r, func(*decoder, string, string, []*tree.Node) []string { return paths })
}

// maxPostedPatterns limits the patterns of a request, and so the time that they take.
const maxPostedPatterns = 20

// includedBelow returns included for files below a directory. Patterns and links that lead outside are errors.
func includedBelow(dir string) includer {
	return func(d *decoder, main, at string, patterns []*tree.Node) []string {
		root, err := filepath.Abs(dir)
		if err == nil {
			root, err = filepath.EvalSymlinks(root)
		}
		if len(patterns) > maxPostedPatterns {
			d.errorAt(patterns[0], "want at most %d patterns in a request, got %d", maxPostedPatterns, len(patterns))
			return nil
		}
		var inside []*tree.Node
		for _, n := range patterns {
			pattern := n.Value.(string)
			if !filepath.IsAbs(pattern) {
				pattern = filepath.Join(filepath.Dir(at), pattern)
			}
			whole, absErr := filepath.Abs(pattern)
			up := slices.Contains(strings.Split(pattern, "/"), "..")
			if err != nil || absErr != nil || up || !below(whole, dir) && !below(whole, root) {
				d.errorAt(n, "a request may include only files below %s", dir)
				continue
			}
			inside = append(inside, n)
		}
		var paths []string
		for _, path := range d.included(main, at, inside) {
			real, err := filepath.EvalSymlinks(path)
			if err == nil {
				real, err = filepath.Abs(real)
			}
			if err != nil || !below(real, root) {
				d.errorAt(inside[0], "a request may include only files below %s", dir)
				return nil
			}
			paths = append(paths, path)
		}
		return paths
	}
}

// below reports whether a clean absolute path is in a directory.
func below(path, dir string) bool {
	whole, err := filepath.Abs(dir)
	return err == nil && strings.HasPrefix(path, strings.TrimSuffix(whole, "/")+"/")
}

// text returns a file of a request.
func (r reader) text(path string) ([]byte, error) {
	if text, ok := r.texts[path]; ok {
		return text, nil
	}
	return nil, errors.New("not part of the request")
}
