package conf

// Endpoints of clients in clouds, which are known by the TLVs of PROXY headers.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"weir/conf/internal/tree"
)

// Endpoint is the TLV of a PROXY header that names a client's endpoint in a cloud.
type Endpoint struct {
	Type  byte
	Value string // of the whole TLV, with its subtype
}

// endpointKind is a kind of endpoints. Its name is that of the TLV in tlvNames.
type endpointKind struct {
	name    string
	subtype string // the beginning of the value
	want    string // describes the ids
	encode  func(id string) (string, error)
	decode  func(value string) string
}

var endpointKinds = []endpointKind{
	{"aws_vpce_id", string(rune(cloudSubtype)), "letters, digits and hyphens", encodeEndpointName, func(s string) string { return s }},
	{"azure_link_id", string(rune(cloudSubtype)), "a number of 32 bits",
		func(id string) (string, error) {
			n, err := strconv.ParseUint(id, 10, 32)
			return string(binary.LittleEndian.AppendUint32(nil, uint32(n))), err
		},
		func(s string) string { return strconv.FormatUint(uint64(binary.LittleEndian.Uint32([]byte(s))), 10) }},
	{"gcp_psc_id", "", "a number of 64 bits",
		func(id string) (string, error) {
			n, err := strconv.ParseUint(id, 10, 64)
			return string(binary.BigEndian.AppendUint64(nil, n)), err
		},
		func(s string) string { return strconv.FormatUint(binary.BigEndian.Uint64([]byte(s)), 10) }},
}

// maxEndpointName limits the names of endpoints. Those of AWS have 22 bytes.
const maxEndpointName = 255

// encodeEndpointName accepts the names that AWS gives.
func encodeEndpointName(id string) (string, error) {
	if id == "" || len(id) > maxEndpointName || strings.ContainsFunc(id, func(r rune) bool { return r > 0x7f || r != '-' && !isNameByte(byte(r)) || r == '.' || r == '_' }) {
		return "", errors.New("no name")
	}
	return id, nil
}

// parseEndpoint parses "aws_vpce_id:vpce-0abc". It returns false if the text does not begin with a kind of endpoints.
func parseEndpoint(s string) (e Endpoint, is bool, err error) {
	name, id, _ := strings.Cut(s, ":")
	for _, k := range endpointKinds {
		if k.name != name {
			continue
		}
		value, err := k.encode(id)
		if err != nil {
			return Endpoint{}, true, fmt.Errorf("want %s after %s:, got %s", k.want, name, tree.Quote(id))
		}
		typ, _ := parseTLVType(name)
		return Endpoint{typ, k.subtype + value}, true, nil
	}
	return Endpoint{}, false, nil
}

// String formats the endpoint as in a file.
func (e Endpoint) String() string {
	for _, k := range endpointKinds {
		if typ, _ := parseTLVType(k.name); typ == e.Type {
			return k.name + ":" + k.decode(strings.TrimPrefix(e.Value, k.subtype))
		}
	}
	return ""
}

// validateEndpoints rejects endpoints in the access lists of a listener whose clients send no PROXY header.
func (d *decoder) validateEndpoints(l *listenerDraft) {
	for _, name := range []string{"allow", "deny"} {
		list := l.node.Get(name)
		if list == nil || d.suggested[l.node]["accept_proxy"] {
			continue
		}
		for _, e := range list.Items {
			text, _ := e.Value.(string)
			if kind, _, _ := strings.Cut(text, ":"); isEndpoint(text) {
				d.errorAt(e, "%s requires accept_proxy = true: the id is in the PROXY header", kind)
			}
		}
	}
}

// isEndpoint reports whether an entry of an access list is a valid endpoint.
func isEndpoint(s string) bool {
	_, is, err := parseEndpoint(s)
	return is && err == nil
}
