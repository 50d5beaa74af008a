package tree

import (
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// File is one text. It converts byte offsets to lines and columns.
type File struct {
	Name  string
	Text  []byte
	lines []int // the offset at which each line starts; computed on first use

	JSON     bool // a request in JSON, not a file
	Revision int  // of a shared configuration; 0 = a file or a request
}

// Line returns the line of an offset, counted from 1.
func (f *File) Line(off int) int {
	if f.lines == nil {
		f.lines = []int{0}
		for i, c := range f.Text {
			if c == '\n' {
				f.lines = append(f.lines, i+1)
			}
		}
	}
	return sort.SearchInts(f.lines, off+1)
}

// position returns the line and column of an offset, both counted from 1; columns count characters.
func (f *File) position(off int) (line, col int) {
	off = max(0, min(off, len(f.Text)))
	line = f.Line(off)
	before := f.Text[f.lines[line-1]:off]
	if len(before) > 1<<16 { // not written by hand; counting bytes keeps many errors in one line cheap
		return line, len(before) + 1
	}
	return line, utf8.RuneCount(before) + 1
}

// MaxMessage limits the text of one diagnostic, which may quote the file.
const MaxMessage = 700

// Diagnostic returns a diagnostic at an offset. Control characters in msg are escaped, so that it stays on one line.
func (f *File) Diagnostic(off int, path, msg string) Diagnostic {
	line, col := f.position(off)
	if strings.ContainsFunc(msg, unicode.IsControl) {
		quoted := strconv.Quote(msg)
		msg = strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	}
	if len(msg) > MaxMessage {
		msg = strings.ToValidUTF8(msg[:MaxMessage], "") + "…"
	}
	return Diagnostic{File: f.Name, Revision: f.Revision, Line: line, Col: col, Path: path, Msg: msg}
}
