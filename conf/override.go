package conf

import (
	"fmt"

	"weir/conf/internal/tree"
)

// Override is what an operator may set of a server at run time. It is a layer over the file.
type Override struct {
	State       *string // nil = not mentioned; "" = taken back
	Weight      *int    // nil = not mentioned; negative = taken back
	MaxSessions *int    // the same; 0 = no limit
	Reason      string
}

// maxReason bounds the words that an operator may leave.
const maxReason = 200

func overrideKeys() []key[Override] {
	words := func() valueType[string] {
		return textType("text", func(s string) error {
			if len(s) > maxReason {
				return fmt.Errorf("a reason has at most %d bytes, got %d", maxReason, len(s))
			}
			return nil
		})
	}
	return []key[Override]{
		nullable("state", serverStateType(), "", func(p *Override) **string { return &p.State }),
		nullable("weight", integerType(0, maxWeight), -1, func(p *Override) **int { return &p.Weight }),
		nullable("max_sessions", integerType(0, maxInt), -1, func(p *Override) **int { return &p.MaxSessions }),
		scalar("reason", words(), "", func(p *Override) *string { return &p.Reason }, "The reason, for other operators."),
	}
}

// nullable is a key that may be null, for which back stands.
func nullable[V any](name string, k valueType[V], back V, field func(*Override) **V) key[Override] {
	return key[Override]{
		name: name, typeText: k.text + " or null",
		decode: func(d *decoder, n *tree.Node, into *Override) {
			v := back
			if n.Value != (tree.Null{}) {
				v, _ = read(d, n, k)
			}
			*field(into) = &v
		},
	}
}

// ParseOverride reads a Patch from a JSON object such as {"state": "drain", "weight": null}. The error is of type Mistakes.
func ParseOverride(text []byte) (Override, error) {
	var p Override
	n, err := parseObject(text)
	if err != nil {
		return p, err
	}
	d := newDecoder()
	decodeTable(d, n, overrideKeys(), &p)
	if len(d.errs) == 0 && p.State == nil && p.Weight == nil && p.MaxSessions == nil {
		d.errorAt(n, "want at least one of state, weight and max_sessions")
	}
	return p, d.err()
}

// ParseFeedback reads {"failed": true} or {"failed": false}. The error is of type Mistakes.
func ParseFeedback(text []byte) (failed bool, err error) {
	n, err := parseObject(text)
	if err != nil {
		return false, err
	}
	d := newDecoder()
	keys := []key[bool]{scalar("failed", booleanType(), "", func(b *bool) *bool { return b }, "Whether the server failed.").required()}
	decodeTable(d, n, keys, &failed)
	return failed, d.err()
}

// ParseStopRequest reads {"now": true}, {} or nothing. The error is of type Mistakes.
func ParseStopRequest(text []byte) (now bool, err error) {
	if len(text) == 0 {
		return false, nil
	}
	n, err := parseObject(text)
	if err != nil {
		return false, err
	}
	d := newDecoder()
	decodeTable(d, n, []key[bool]{scalar("now", booleanType(), "", func(b *bool) *bool { return b }, "Stop immediately.")}, &now)
	return now, d.err()
}
