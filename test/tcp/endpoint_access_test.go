package tcp_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Values of the TLVs of the clouds.
const (
	awsEndpoint   = "\xea\x00\x0a\x01vpce-0abc"
	awsOther      = "\xea\x00\x0b\x01vpce-0abcd"
	azureLink     = "\xee\x00\x05\x01\x04\x03\x02\x01" // 16909060
	gcpConnection = "\xe0\x00\x08\x00\x00\x00\x00\x00\x00\x01\x00"
)

// allow and deny match the endpoint of a cloud in the PROXY header as they match addresses: an entry matches by the one or
// the other, and deny wins.
func TestAccessByCloudEndpoint(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "A")
	p := withListen(proxied("", weirtest.WeightedLevel(hosts, "A")...), nettest.Reserve(t))
	lists := func(allow, deny string) string {
		l := p
		l.Listener += "allow = [" + allow + "]\ndeny = [" + deny + "]\n"
		return l.String()
	}
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(lists(`"aws_vpce_id:vpce-0abc", "azure_link_id:16909060", "gcp_psc_id:256", "2001:db8::/32"`, `"gcp_psc_id:257"`)))
	served := func(block byte, address string, tlvs ...string) bool {
		t.Helper()
		c := nettest.Dial(t, p.Listen)
		defer c.Close()
		io.WriteString(c, nettest.ProxyV2(0x21, block, append([]string{address}, tlvs...)...))
		got, _ := nettest.ReadToEnd(c, weirtest.Bound(5*time.Second))
		return string(got) == "A"
	}
	gcpDenied := strings.Replace(gcpConnection, "\x01\x00", "\x01\x01", 1)
	for name, c := range map[string]struct {
		block   byte
		address string
		tlvs    []string
		want    bool
	}{
		"aws":                  {0x11, block4, []string{awsEndpoint}, true},
		"aws, a later TLV":     {0x11, block4, []string{awsOther, nettest.ProxyTLV(1, "h2"), awsEndpoint}, true},
		"azure":                {0x11, block4, []string{azureLink}, true},
		"gcp":                  {0x11, block4, []string{gcpConnection}, true},
		"address":              {0x21, block6, nil, true},
		"address, other id":    {0x21, block6, []string{awsOther}, true},
		"none":                 {0x11, block4, nil, false},
		"longer id":            {0x11, block4, []string{awsOther}, false},
		"id of another cloud":  {0x11, block4, []string{nettest.ProxyTLV(0xee, "\x01vpce-0abc")}, false},
		"other subtype":        {0x11, block4, []string{nettest.ProxyTLV(0xea, "\x02vpce-0abc")}, false},
		"long id":              {0x11, block4, []string{nettest.ProxyTLV(0xea, "\x01"+strings.Repeat("v", 3000))}, false},
		"denied by id":         {0x21, block6, []string{gcpDenied}, false},
		"denied and allowed":   {0x11, block4, []string{awsEndpoint, gcpDenied}, false},
		"with several TLVs":    {0x11, block4, []string{nettest.ProxyTLV(2, "example.com"), gcpConnection, nettest.ProxyTLV(4, "\x00")}, true},
		"empty TLV of a cloud": {0x11, block4, []string{nettest.ProxyTLV(0xea, "")}, false},
	} {
		require.Equal(t, c.want, served(c.block, c.address, c.tlvs...), name)
	}
	denied := func(r weirtest.Record) bool { return r.Termination() == "admit denied" }
	nettest.Wait(t, weirtest.Bound(5*time.Second), "the records", func() bool { return len(w.Records(denied)) == 8 })
	require.Equal(t, map[string]int{"denied": 8}, rejections(a))
	w.WaitRecord(weirtest.Bound(5*time.Second), "the event", func(r weirtest.Record) bool {
		return r.IsEvent("session_refused") && r.Text("reason") == "denied"
	})

	w.Reload(a.AddTo(lists(`"aws_vpce_id:vpce-0abcd"`, ``)))
	require.True(t, served(0x11, block4, awsOther))
	require.False(t, served(0x11, block4, awsEndpoint))
	w.Reload(a.AddTo(lists(``, `"aws_vpce_id:vpce-0abcd"`)))
	require.False(t, served(0x11, block4, awsOther))
	require.True(t, served(0x11, block4, awsEndpoint))
	require.True(t, served(0x11, block4))
}

// The plan names ids that are added to a list.
func TestPlanShowsCloudEndpoints(t *testing.T) {
	t.Parallel()
	w, _ := weirtest.Serve(t, proxied("allow = [\"10.0.0.0/8\"]\n", "127.0.0.1:9"))
	before := filepath.Join(t.TempDir(), "before.toml")
	text := weirtest.ReadFile(t, w.File)
	require.NoError(t, os.WriteFile(before, []byte(text), 0o644))
	w.WriteConfig(strings.Replace(text, `"10.0.0.0/8"`, `"10.0.0.0/8", "gcp_psc_id:256"`, 1))
	_, out := weirtest.RunCommand(t, "plan", "--from", before, "-c", w.File)
	require.Contains(t, out, "10.0.0.0/8, gcp_psc_id:256")
}
