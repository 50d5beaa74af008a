package conf

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"weir/conf/internal/tree"
)

// Override is what an operator sets of a server at run time. It is a layer on top of the file.
type Override struct {
	State       *string        // nil = not mentioned; "" = cleared
	Weight      *int           // nil = not mentioned; negative = cleared
	MaxSessions *int           // nil = not mentioned; negative = cleared; 0 = no limit
	Deadline    *time.Duration // of a drain, from now; nil = not mentioned; 0 = cleared
	Reason      string
	Local       bool // for this node of a fleet only
}

// maxReason limits the length of an operator's reason.
const maxReason = 200

func overrideKeys() []key[Override] {
	return []key[Override]{
		nullable("state", serverStateType(), "", func(p *Override) **string { return &p.State }),
		nullable("weight", integerType(0, maxWeight), -1, func(p *Override) **int { return &p.Weight }),
		nullable("max_sessions", integerType(0, maxInt), -1, func(p *Override) **int { return &p.MaxSessions }),
		nullable("deadline", positiveDuration(), 0, func(p *Override) **time.Duration { return &p.Deadline }),
		scalar("reason", reasonType(), "", func(p *Override) *string { return &p.Reason }, "The reason, for other operators."),
		scalar("local", booleanType(), "", func(p *Override) *bool { return &p.Local }, "Whether the override is for this node of a fleet only."),
	}
}

func reasonType() valueType[string] {
	return textType("text", func(s string) error {
		if len(s) > maxReason {
			return fmt.Errorf("a reason has at most %d bytes, got %d", maxReason, len(s))
		}
		if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return errors.New("a reason is one line of printable characters") // it reaches logs, hooks and terminals
		}
		return nil
	})
}

// nullable is a key whose value may be null, which is decoded as back.
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

// ParseOverride parses a JSON object such as {"state": "drain", "weight": null}. The error is of type Errors.
func ParseOverride(text []byte) (Override, error) {
	var p Override
	n, err := parseObject(text)
	if err != nil {
		return p, err
	}
	d := newDecoder()
	decodeTable(d, n, overrideKeys(), &p)
	if len(d.errs) > 0 {
		return p, d.err()
	}
	switch {
	case p.State == nil && p.Weight == nil && p.MaxSessions == nil && p.Deadline == nil:
		d.errorAt(n, "want at least one of state, weight and max_sessions")
	case p.Deadline != nil && *p.Deadline > 0 && p.State != nil && *p.State != "drain":
		d.errorAt(n.Get("deadline"), "only a drain has a deadline; want state = \"drain\"")
	}
	return p, d.err()
}

// ParseFeedback parses {"failed": true} or {"failed": false}. The error is of type Errors.
func ParseFeedback(text []byte) (failed bool, err error) {
	return parseFlag(text, booleanKey("failed", "Whether the server failed.").required())
}

// ParseStopRequest parses {"now": true}, {} or an empty text. The error is of type Errors.
func ParseStopRequest(text []byte) (now bool, err error) {
	return parseFlag(text, booleanKey("now", "Stop immediately."))
}

// ParseRebalance parses {"dry_run": true}, {} or an empty text. The error is of type Errors.
func ParseRebalance(text []byte) (dryRun bool, err error) {
	return parseFlag(text, booleanKey("dry_run", "Only tell what would be closed."))
}

// ParseReason parses {"reason": "…"}, {} or an empty text. The error is of type Errors.
func ParseReason(text []byte) (reason string, err error) {
	if len(text) == 0 {
		return "", nil
	}
	n, err := parseObject(text)
	if err != nil {
		return "", err
	}
	d := newDecoder()
	decodeTable(d, n, []key[string]{scalar("reason", reasonType(), "", func(s *string) *string { return s }, "The reason, for other operators.")}, &reason)
	return reason, d.err()
}

func booleanKey(name, doc string) key[bool] {
	return scalar(name, booleanType(), "", func(b *bool) *bool { return b }, doc)
}

// parseFlag parses a JSON object with one key. The text may be empty, unless the key is required.
func parseFlag(text []byte, k key[bool]) (value bool, err error) {
	if len(text) == 0 && !k.isRequired {
		return false, nil
	}
	n, err := parseObject(text)
	if err != nil {
		return false, err
	}
	d := newDecoder()
	decodeTable(d, n, []key[bool]{k}, &value)
	return value, d.err()
}
