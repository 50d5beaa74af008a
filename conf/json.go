package conf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// Nodes from JSON, for what is described at run time: the same keys, rules and messages as in a file. Places are real
// ones, so that messages about two of them can name their lines.

// null is the value of a JSON null.
type null struct{}

func (null) String() string { return "null" }

// parseJSON makes the tree of one JSON value.
func parseJSON(text []byte) (*node, error) {
	f := &file{name: "request", text: text, request: true}
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
		return nil, Errors{f.mistake(int(p.dec.InputOffset()), "", "want JSON: "+strings.TrimPrefix(err.Error(), "json: "))}
	}
	return root, nil
}

type jsonParser struct {
	file *file
	dec  *json.Decoder
}

// maxJSONDepth is enough for a step of a check of a cluster, and leaves room.
const maxJSONDepth = 16

func (p *jsonParser) value(parent *node, depth int) (*node, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxJSONDepth)
	}
	token, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	at := int(p.dec.InputOffset()) - 1
	n := &node{file: p.file, at: at, key: at, parent: parent}
	switch v := token.(type) {
	case json.Delim:
		if v == '{' {
			n.kind = nodeTable
			err = p.table(n, depth)
		} else {
			n.kind = nodeList
			err = p.list(n, depth)
		}
		if err == nil {
			_, err = p.dec.Token() // the closing one
		}
	case json.Number:
		f, tooLarge := v.Float64()
		switch i, bad := v.Int64(); {
		case bad == nil:
			n.value = i
		case tooLarge != nil:
			err = fmt.Errorf("%s is too large a number", quoteText(v.String()))
		case f == math.Trunc(f) && math.Abs(f) <= 1<<53: // 5.0 is an integer as far as JSON goes
			n.value = int64(f)
		default:
			n.value = f
		}
	case nil:
		n.value = null{}
	default:
		n.value = v
	}
	return n, err
}

func (p *jsonParser) table(n *node, depth int) error {
	seen := make(map[string]bool)
	for p.dec.More() {
		token, err := p.dec.Token()
		if err != nil {
			return err
		}
		name := token.(string)
		key := int(p.dec.InputOffset()) - 1
		c, err := p.value(n, depth+1)
		if err != nil {
			return err
		}
		if seen[name] {
			return fmt.Errorf("duplicate key %s", quoteName(name))
		}
		seen[name] = true
		c.name, c.key = name, key
		n.keys = append(n.keys, c)
	}
	return nil
}

func (p *jsonParser) list(n *node, depth int) error {
	for p.dec.More() {
		c, err := p.value(n, depth+1)
		if err != nil {
			return err
		}
		c.index = len(n.items)
		n.items = append(n.items, c)
	}
	return nil
}

// parseObject is parseJSON for what has to be an object.
func parseObject(text []byte) (*node, error) {
	n, err := parseJSON(text)
	if err == nil && n.kind != nodeTable {
		err = Errors{n.file.mistake(n.at, "", "want a JSON object, got "+n.got())}
	}
	return n, err
}

// verdict is what a decoder of one request amounts to.
func (d *decoder) verdict(f *file) error {
	if len(d.mistakes) == 0 {
		return nil
	}
	return Errors(sortedMistakes(d.mistakes, []*file{f}))
}
