package conf

import (
	"fmt"
	"strconv"
	"strings"

	"weir/conf/internal/tree"
)

// HashKeys returns the legal values of hash_key, without those that give the type of a TLV by number.
func HashKeys() []string {
	return []string{"client_ip", "client_ip_port", "local_address", "proxy_authority", hashSNI, "aws_vpce_id", "azure_link_id", "gcp_psc_id"}
}

// hashSNI is the hash_key that is the server name of the client's ClientHello.
const hashSNI = "sni"

// hashTLV is the prefix of a hash_key that is a TLV of the PROXY header; the type follows.
const hashTLV = "proxy_tlv:"

// TLVs that do not depend on the client: checksum and padding.
const (
	tlvChecksum = 0x03
	tlvPadding  = 0x04
)

func hashKeyType() valueType[string] {
	words := oneOf(append(HashKeys(), hashTLV+"0xNN"), map[string]string{"source": "client_ip", "src": "client_ip", "remote_addr": "client_ip", "ssl_preread_server_name": hashSNI, "server_name": hashSNI})
	named := words.parse
	words.parse = func(n *tree.Node) (string, error) {
		s, _ := n.Value.(string)
		number, ok := strings.CutPrefix(s, hashTLV)
		if !ok {
			return named(n)
		}
		digits, ok := strings.CutPrefix(number, "0x")
		typ, err := strconv.ParseUint(digits, 16, 8)
		switch {
		case !ok || err != nil || len(digits) > 2:
			return "", fmt.Errorf("want a type of one byte such as \"proxy_tlv:0xea\", got %s", n.Describe())
		case typ == tlvChecksum || typ == tlvPadding:
			return "", fmt.Errorf("the value of type 0x%02x does not depend on the client", typ)
		}
		return fmt.Sprintf("%s0x%02x", hashTLV, typ), nil
	}
	return words
}

// ProxyTLV returns the type of the TLV that is the hash key, if hash_key is one.
func (c *Cluster) ProxyTLV() (typ byte, ok bool) {
	if c.HashKey == "proxy_authority" {
		return 0x02, true // PP2_TYPE_AUTHORITY
	}
	for _, known := range tlvNames {
		if strings.HasSuffix(known.name, "_id") && known.name == c.HashKey {
			return known.typ, true
		}
	}
	number, ok := strings.CutPrefix(c.HashKey, hashTLV+"0x")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(number, 16, 8)
	return byte(n), err == nil
}

// HashesSNI reports whether servers are chosen by the server name of the client's ClientHello.
func (c *Cluster) HashesSNI() bool {
	return (c.Balance == "hash" || c.Balance == "maglev") && c.HashKey == hashSNI
}

// HashSubtype returns the first byte that the TLV of the hash key must have, if it must have one: the value follows it.
func (c *Cluster) HashSubtype() (subtype byte, ok bool) {
	return cloudSubtype, c.HashKey == "aws_vpce_id" || c.HashKey == "azure_link_id"
}

// cloudSubtype is PP2_SUBTYPE_AWS_VPCE_ID and PP2_SUBTYPE_AZURE_PRIVATEENDPOINT_LINKID.
const cloudSubtype = 0x01
