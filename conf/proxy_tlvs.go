package conf

// The TLVs of PROXY headers that are passed on to servers.

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weir/conf/internal/tree"
)

// TLVTypes selects TLVs of PROXY headers by type. The zero value is all of them.
type TLVTypes struct {
	Limited bool   // only Types
	Types   []byte // sorted
}

// tlvNames are the types that have names. Those of the clouds are the types of their own TLVs, whose first byte is a
// subtype.
var tlvNames = []struct {
	name string
	typ  byte
}{
	{"alpn", 0x01}, {"authority", 0x02}, {"unique_id", 0x05}, {"ssl", 0x20}, {"gcp_psc_id", 0xe0}, {"aws_vpce_id", 0xea}, {"azure_link_id", 0xee},
}

// String formats the types as in a server's string form.
func (t TLVTypes) String() string {
	switch {
	case !t.Limited:
		return "all"
	case len(t.Types) == 0:
		return "none"
	}
	texts := make([]string, len(t.Types))
	for i, typ := range t.Types {
		texts[i] = fmt.Sprintf("0x%02X", typ)
		for _, known := range tlvNames {
			if known.typ == typ {
				texts[i] = known.name
			}
		}
	}
	return strings.Join(texts, ",")
}

// tlvTypesType is "all", "none", or types by number or name.
func tlvTypesType() valueType[TLVTypes] {
	return valueType[TLVTypes]{text: "all, none or types", parse: parseTLVTypes, show: TLVTypes.String}
}

func parseTLVTypes(n *tree.Node) (TLVTypes, error) {
	var words []string
	switch text, ok := n.Value.(string); {
	case ok && text == "all":
		return TLVTypes{}, nil
	case ok && text == "none":
		return TLVTypes{Limited: true}, nil
	case ok && n.InString:
		words = strings.Split(text, ",")
	case ok:
		words = []string{text}
	case n.Kind == tree.List:
		for _, e := range n.Items {
			word, ok := e.Value.(string)
			if !ok {
				return TLVTypes{}, fmt.Errorf("want a type such as \"0xE5\" or \"ssl\", got %s", e.Describe())
			}
			words = append(words, word)
		}
	default:
		return TLVTypes{}, fmt.Errorf("want \"all\", \"none\" or a list of types, got %s", n.Describe())
	}
	t := TLVTypes{Limited: true}
	for _, word := range words {
		typ, err := parseTLVType(word)
		if err != nil {
			return TLVTypes{}, err
		}
		t.Types = append(t.Types, typ)
	}
	slices.Sort(t.Types)
	t.Types = slices.Compact(t.Types)
	return t, nil
}

func parseTLVType(word string) (byte, error) {
	for _, known := range tlvNames {
		if known.name == word {
			return known.typ, nil
		}
	}
	digits, ok := strings.CutPrefix(strings.ToLower(word), "0x")
	typ, err := strconv.ParseUint(digits, 16, 8)
	switch {
	case !ok || err != nil || len(digits) > 2:
		names := make([]string, len(tlvNames))
		for i, known := range tlvNames {
			names[i] = known.name
		}
		return 0, fmt.Errorf("want \"all\", \"none\", or types such as \"0xE5\" or %s, got %s", strings.Join(names, ", "), tree.Quote(word))
	case typ == tlvChecksum:
		return 0, fmt.Errorf("type 0x%02x is the checksum, which is always new", typ)
	}
	return byte(typ), nil
}
