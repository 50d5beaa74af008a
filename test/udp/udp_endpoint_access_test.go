package udp_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A flow is admitted by the cloud endpoint in the header of the datagram that starts it. The list is not applied again.
func TestUDPAccessByCloudEndpoint(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.EchoDatagram)
	w, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr()), Listener: "accept_proxy = true\n" +
		"trusted_proxies = [\"127.0.0.1\"]\nflow_timeout = \"10s\"\nallow = [\"aws_vpce_id:vpce-0abc\", \"192.0.2.128/25\"]\ndeny = [\"gcp_psc_id:256\"]"})
	const admitted = "\xea\x00\x0a\x01vpce-0abc"
	header := func(client byte, tlvs ...string) string {
		block := "\xc0\x00\x02" + string([]byte{client}) + "\xc0\x00\x02\x02\x04\xd2\x16\x2e"
		return nettest.ProxyV2(0x21, 0x12, append([]string{block}, tlvs...)...)
	}
	c := nettest.DialDatagrams(t, "", addr)
	require.Equal(t, "a", c.RoundTrip(header(1, admitted)+"a"))
	require.Equal(t, "b", c.RoundTrip(header(1)+"b"), "the flow was admitted")
	require.Equal(t, "c", c.RoundTrip(header(200)+"c"))
	before := host.Received()
	for _, denied := range []string{header(2), header(3, "\xea\x00\x0a\x01vpce-0abd"), header(201, "\xe0\x00\x08\x00\x00\x00\x00\x00\x00\x01\x00"), header(4, "\xee\x00\x0a\x01vpce-0abc")} {
		c.Send([]byte(denied + "x"))
	}
	w.WaitRecord(weirtest.Bound(5*time.Second), "the refusal", func(r weirtest.Record) bool {
		return r.IsEvent("session_refused") && r.Text("reason") == "denied"
	})
	require.Equal(t, "d", c.RoundTrip(header(200)+"d"))
	require.Equal(t, before+1, host.Received())
}
