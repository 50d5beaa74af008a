package checks

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nettest"
)

// A server may repeat in an error what a check has sent. Credentials are not part of the reason.
func TestSentCredentialsAreNotRepeated(t *testing.T) {
	for send, secret := range map[string]string{
		"AUTH hunter2hunter2\r\nPING\r\n":                      "hunter2hunter2",
		"*3\r\n$4\r\nAUTH\r\n$3\r\nann\r\n$9\r\nswordfish\r\n": "swordfish",
		"USER ann\r\nPASS correct-horse\r\n":                   "correct-horse",
	} {
		reply := "-ERR unknown command, with args beginning with: '" + secret + "'\r\n"
		steps := []conf.Step{{Send: []byte(send), Expect: []byte("+PONG")}}
		h := nettest.Start(t, runScript([2]string{secret, reply}))
		_, err := runCheck(t, TCP{Steps: steps}, h.Addr())
		require.ErrorContains(t, err, "unknown command")
		require.NotContains(t, err.Error(), secret)

		at := startUDPServer(t, func(netip.AddrPort, string) []string { return []string{reply} })
		_, err = checkWithin(t, UDP{Steps: steps}, Target{Address: at}, 300*time.Millisecond)
		require.ErrorContains(t, err, "unknown command")
		require.NotContains(t, err.Error(), secret)
	}
	require.Empty(t, sentSecrets([]conf.Step{{Send: []byte("GET /health HTTP/1.0\r\n\r\n")}}))
}

// A reply of the largest size is compared to its end.
func TestLargestDatagramIsRead(t *testing.T) {
	reply := make([]byte, 65507)
	copy(reply[len(reply)-4:], "last")
	addr := startUDPServer(t, func(netip.AddrPort, string) []string { return []string{string(reply)} })
	_, err := runCheck(t, UDP{Steps: []conf.Step{{Send: []byte("x"), Regex: "last$"}}}, addr)
	require.NoError(t, err)
}
