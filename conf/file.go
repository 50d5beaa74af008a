package conf

import (
	"sort"
	"unicode/utf8"
)

// file is one loaded text and turns byte offsets into lines and columns.
type file struct {
	name  string
	text  []byte
	lines []int // the offset at which each line starts; made when first asked for
}

// position tells line and column of an offset, both from 1; columns count characters.
func (f *file) position(off int) (line, col int) {
	if f.lines == nil {
		f.lines = []int{0}
		for i, c := range f.text {
			if c == '\n' {
				f.lines = append(f.lines, i+1)
			}
		}
	}
	off = max(0, min(off, len(f.text)))
	line = sort.SearchInts(f.lines, off+1)
	return line, utf8.RuneCount(f.text[f.lines[line-1]:off]) + 1
}

func (f *file) mistake(off int, path, msg string) Mistake {
	line, col := f.position(off)
	return Mistake{File: f.name, Line: line, Col: col, Path: path, Msg: msg}
}
