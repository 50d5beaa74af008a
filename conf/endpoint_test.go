package conf

import (
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
	"github.com/stretchr/testify/require"
)

// Entries are the TLVs that the clouds send, and format as in a file.
func TestEndpointEntries(t *testing.T) {
	for text, want := range map[string]Endpoint{
		"aws_vpce_id:vpce-08d2bf15fac5001c9":      {0xea, "\x01vpce-08d2bf15fac5001c9"},
		"aws_vpce_id:" + strings.Repeat("A", 255): {0xea, "\x01" + strings.Repeat("A", 255)},
		"azure_link_id:16909060":                  {0xee, "\x01\x04\x03\x02\x01"},
		"azure_link_id:4294967295":                {0xee, "\x01\xff\xff\xff\xff"},
		"gcp_psc_id:256":                          {0xe0, "\x00\x00\x00\x00\x00\x00\x01\x00"},
		"gcp_psc_id:18446744073709551615":         {0xe0, "\xff\xff\xff\xff\xff\xff\xff\xff"},
	} {
		e, is, err := parseEndpoint(text)
		require.NoError(t, err)
		require.True(t, is)
		require.Equal(t, want, e)
		require.Equal(t, text, e.String())
		list := []proxyproto.TLV{{Type: proxyproto.PP2Type(e.Type), Value: []byte(e.Value)}}
		azure, isAzure := tlvparse.FindAzurePrivateEndpointLinkID(list)
		gcp, isGCP := tlvparse.ExtractPSCConnectionID(list)
		require.True(t, strings.HasSuffix(text, ":"+tlvparse.FindAWSVPCEndpointID(list)) || isAzure && azure > 0 || isGCP && gcp > 0)
	}
	same, _, err := parseEndpoint("gcp_psc_id:0256")
	require.NoError(t, err)
	require.Equal(t, "gcp_psc_id:256", same.String())
	_, is, _ := parseEndpoint("::1")
	require.False(t, is)
}

// Any text is an endpoint, an error or something else.
func FuzzEndpoint(f *testing.F) {
	for _, s := range []string{"aws_vpce_id:vpce-0", "azure_link_id:1", "gcp_psc_id:1", "gcp_psc_id:-1", "::1", "aws_vpce_id", "aws_vpce_id:\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, is, err := parseEndpoint(s)
		if !is || err != nil {
			require.Zero(t, e)
			return
		}
		again, _, err := parseEndpoint(e.String())
		require.NoError(t, err)
		require.Equal(t, e, again)
		require.LessOrEqual(t, len(e.Value), 1+maxEndpointName)
	})
}
