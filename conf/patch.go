package conf

import "fmt"

// Patch is what an operator may set of a server at run time. It is a layer over the file.
type Patch struct {
	State       *string // nil = not mentioned; "" = taken back
	Weight      *int    // nil = not mentioned; negative = taken back
	MaxSessions *int    // the same; 0 = no limit
	Reason      string
}

// maxReason bounds the words that an operator may leave.
const maxReason = 200

func patchKeys() []key[Patch] {
	words := func() kind[string] {
		return text("text", func(s string) error {
			if len(s) > maxReason {
				return fmt.Errorf("a reason has at most %d bytes, got %d", maxReason, len(s))
			}
			return nil
		})
	}
	return []key[Patch]{
		patched("state", serverState(), "", func(p *Patch) **string { return &p.State }),
		patched("weight", integer(0, maxWeight), -1, func(p *Patch) **int { return &p.Weight }),
		patched("max_sessions", integer(0, most), -1, func(p *Patch) **int { return &p.MaxSessions }),
		scalar("reason", words(), "", func(p *Patch) *string { return &p.Reason }, "Why, for those who look on."),
	}
}

// patched is a key that may be null, for which back stands.
func patched[V any](name string, k kind[V], back V, field func(*Patch) **V) key[Patch] {
	return key[Patch]{
		name: name, form: k.form + " or null",
		decode: func(d *decoder, n *node, into *Patch) {
			v := back
			if n.value != (null{}) {
				v, _ = read(d, n, k)
			}
			*field(into) = &v
		},
	}
}

// ParsePatch reads a Patch from a JSON object such as {"state": "drain", "weight": null}. The error is of type Mistakes.
func ParsePatch(text []byte) (Patch, error) {
	var p Patch
	n, err := parseObject(text)
	if err != nil {
		return p, err
	}
	d := newDecoder()
	decodeTable(d, n, patchKeys(), &p)
	if len(d.mistakes) == 0 && p.State == nil && p.Weight == nil && p.MaxSessions == nil {
		d.fault(n, "want at least one of state, weight and max_sessions")
	}
	return p, d.verdict(n.file)
}

// ParseFeedback reads {"failed": true} or {"failed": false}. The error is of type Mistakes.
func ParseFeedback(text []byte) (failed bool, err error) {
	n, err := parseObject(text)
	if err != nil {
		return false, err
	}
	d := newDecoder()
	keys := []key[bool]{scalar("failed", boolean(), "", func(b *bool) *bool { return b }, "Whether the server failed.").required()}
	decodeTable(d, n, keys, &failed)
	return failed, d.verdict(n.file)
}

// ParseStop reads {"now": true}, {} or nothing. The error is of type Mistakes.
func ParseStop(text []byte) (now bool, err error) {
	if len(text) == 0 {
		return false, nil
	}
	n, err := parseObject(text)
	if err != nil {
		return false, err
	}
	d := newDecoder()
	decodeTable(d, n, []key[bool]{scalar("now", boolean(), "", func(b *bool) *bool { return b }, "At once.")}, &now)
	return now, d.verdict(n.file)
}
