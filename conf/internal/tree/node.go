package tree

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Node is a value with its position. It is the same for TOML and JSON.
type Node struct {
	File      *File
	Offset    int // offset of the value
	KeyOffset int // offset of its key
	Value     any // string, int64, float64, bool or time.Time; nil for tables and lists

	Kind       Kind
	Incomplete bool // a table without those of its keys that could not be parsed
	InString   bool // part of a server's string form, in which numbers are strings too

	Parent *Node
	Name   string // the key in a table, or
	Index  int    // the index in a list
	Keys   []*Node
	Items  []*Node
}

// Kind is the kind of a node.
type Kind uint8

// The kinds of nodes.
const (
	Scalar Kind = iota
	Table
	List
)

// Get returns the value of a key of a table, or nil if there is none or n is nil.
func (n *Node) Get(name string) *Node {
	if n == nil {
		return nil
	}
	for _, k := range n.Keys {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// Delete removes a key from a table.
func (n *Node) Delete(name string) {
	n.Keys = slices.DeleteFunc(n.Keys, func(k *Node) bool { return k.Name == name })
}

// Path returns the dotted key of the node from the top of the file.
func (n *Node) Path() string {
	if n.Parent == nil {
		return ""
	}
	up := n.Parent.Path()
	switch {
	case n.Parent.Kind == List:
		return up + "[" + strconv.Itoa(n.Index) + "]"
	case up == "":
		return QuoteKey(n.Name)
	}
	return up + "." + QuoteKey(n.Name)
}

// QuoteKey formats a key as in TOML, in quotes if it needs them.
func QuoteKey(s string) string {
	if len(s) > 64 {
		s = s[:61] + "…"
	}
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "" {
		return s
	}
	return strconv.Quote(s)
}

// Describe formats the value of a node for an error message.
func (n *Node) Describe() string {
	switch n.Kind {
	case Table:
		return "a table"
	case List:
		return "a list"
	}
	switch v := n.Value.(type) {
	case string:
		return Quote(v)
	case time.Time, float64: // as written: 1e3 is not an integer, but would be formatted as 1000
		return n.literal()
	default:
		return fmt.Sprint(v)
	}
}

// literal returns a number or date as written in the text.
func (n *Node) literal() string {
	text := n.File.Text[min(n.Offset, len(n.File.Text)):]
	if i := bytes.IndexAny(text, " \t\r\n,]}#"); i >= 0 {
		text = text[:i]
	}
	return string(text[:min(len(text), maxWritten)])
}

// maxWritten is longer than any valid number or date.
const maxWritten = 40

// Quote quotes a string for an error message, cut to 80 bytes.
func Quote(s string) string {
	const most = 80
	if len(s) <= most {
		return strconv.Quote(s)
	}
	cut := most
	for cut > 0 && s[cut]&0xc0 == 0x80 {
		cut--
	}
	return strconv.Quote(s[:cut]) + "…"
}
