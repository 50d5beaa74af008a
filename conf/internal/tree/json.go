package tree

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// Null is the Value of a JSON null.
type Null struct{}

func (Null) String() string { return "null" }

// ParseJSON parses one JSON value. The tree is nil if there is an error.
func ParseJSON(text []byte) (root *Node, errs []Diagnostic) {
	f := &File{Name: "request", Text: text, JSON: true}
	p := jsonParser{file: f, dec: json.NewDecoder(bytes.NewReader(text))}
	p.dec.UseNumber()
	root, err := p.value(nil, 0)
	if err == nil {
		if _, more := p.dec.Token(); more == nil || !errors.Is(more, io.EOF) {
			err = errors.New("something follows the JSON value")
		}
	}
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the JSON text ends early")
		}
		return nil, []Diagnostic{f.Diagnostic(int(p.dec.InputOffset()), "", "want JSON: "+strings.TrimPrefix(err.Error(), "json: "))}
	}
	return root, nil
}

type jsonParser struct {
	file *File
	dec  *json.Decoder
}

// token returns the next token and its offset.
func (p *jsonParser) token() (token json.Token, at int, err error) {
	at = int(p.dec.InputOffset())
	for at < len(p.file.Text) && strings.IndexByte(" \t\r\n,:", p.file.Text[at]) >= 0 {
		at++
	}
	token, err = p.dec.Token()
	return token, at, err
}

func (p *jsonParser) value(parent *Node, depth int) (*Node, error) {
	token, at, err := p.token()
	if err != nil {
		return nil, err
	}
	n := &Node{File: p.file, Offset: at, KeyOffset: at, Parent: parent}
	switch v := token.(type) {
	case json.Delim:
		if depth == maxNesting {
			return nil, fmt.Errorf("nested more than %d deep", maxNesting)
		}
		if v == '{' {
			n.Kind = Table
			err = p.table(n, depth)
		} else {
			n.Kind = List
			err = p.list(n, depth)
		}
		if err == nil {
			_, err = p.dec.Token() // the closing bracket
		}
	case json.Number:
		f, tooLarge := v.Float64()
		switch i, bad := v.Int64(); {
		case bad == nil:
			n.Value = i
		case tooLarge != nil:
			err = fmt.Errorf("%s is too large a number", Quote(v.String()))
		case f == math.Trunc(f) && math.Abs(f) <= 1<<53: // JSON does not distinguish 5.0 from 5
			n.Value = int64(f)
		default:
			n.Value = f
		}
	case nil:
		n.Value = Null{}
	default:
		n.Value = v
	}
	return n, err
}

func (p *jsonParser) table(n *Node, depth int) error {
	seen := make(map[string]bool)
	for p.dec.More() {
		token, key, err := p.token()
		if err != nil {
			return err
		}
		name := token.(string)
		c, err := p.value(n, depth+1)
		if err != nil {
			return err
		}
		if seen[name] {
			return fmt.Errorf("duplicate key %s", QuoteKey(name))
		}
		seen[name] = true
		c.Name, c.KeyOffset = name, key
		n.Keys = append(n.Keys, c)
	}
	return nil
}

func (p *jsonParser) list(n *Node, depth int) error {
	for p.dec.More() {
		c, err := p.value(n, depth+1)
		if err != nil {
			return err
		}
		c.Index = len(n.Items)
		n.Items = append(n.Items, c)
	}
	return nil
}
