package l4

// What session records show of the TLVs of a PROXY header.

import (
	"strconv"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"weir/internal/proxy"
)

// ProxyFacts are the values of a PROXY header that records show. Empty fields were not in it.
type ProxyFacts struct {
	AWSVPCEndpoint string // aws_vpce_id
	AzureLink      string // azure_link_id, in decimal
	GCPConnection  string // gcp_psc_id, in decimal
	TLSVersion     string // of proxy_ssl, as in "TLSv1.3"
	TLSClientCN    string // of proxy_ssl: the common name of the client's certificate
}

// maxFact limits the texts, which come from outside.
const maxFact = 255

// proxyFacts returns the facts in TLVs, or nil if there is none.
func proxyFacts(tlvs []byte) *ProxyFacts {
	h := proxy.Header{TLVs: tlvs}
	known := false
	for _, typ := range [...]byte{0x20, 0xe0, 0xea, 0xee} {
		_, has := h.TLV(typ)
		known = known || has
	}
	if !known { // the usual case, without an allocation
		return nil
	}
	list, err := proxyproto.SplitTLVs(tlvs)
	if err != nil {
		return nil
	}
	f := &ProxyFacts{AWSVPCEndpoint: clip(tlvparse.FindAWSVPCEndpointID(list))}
	if id, ok := tlvparse.FindAzurePrivateEndpointLinkID(list); ok {
		f.AzureLink = strconv.FormatUint(uint64(id), 10)
	}
	if id, ok := tlvparse.ExtractPSCConnectionID(list); ok {
		f.GCPConnection = strconv.FormatUint(id, 10)
	}
	if tls, ok := tlvparse.FindSSL(list); ok {
		version, _ := tls.SSLVersion()
		name, _ := tls.ClientCN()
		f.TLSVersion, f.TLSClientCN = clip(version), clip(name)
	}
	if *f == (ProxyFacts{}) {
		return nil
	}
	return f
}

func clip(s string) string { return s[:min(len(s), maxFact)] }

// setProxyFacts keeps the facts for the session's record.
func (s *session) setProxyFacts(f *ProxyFacts) {
	if f == nil {
		return
	}
	s.withExtra().proxy = f
}

// proxyFacts returns the facts of the session's PROXY header, or none.
func (s *session) proxyFacts() ProxyFacts {
	if s.extra == nil || s.extra.proxy == nil {
		return ProxyFacts{}
	}
	return *s.extra.proxy
}
