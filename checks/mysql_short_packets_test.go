package checks

import (
	"testing"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// Packets that are shorter than those of current servers are accepted if they are complete enough. Packets that are too
// short do not cause a panic.
func TestMySQLShortPackets(t *testing.T) {
	greeting := packet(0, greetingOf("mysql_native_password"))
	for reply, want := range map[string]string{
		"\x00":                                   "",
		"\x00\x00\x00":                           "",
		"\x00\x00\x00\x02\x00":                   "",
		"\x00\xfe":                               "",
		"\xff":                                   "login: error packet cut short",
		"\xff\x15":                               "login: error packet cut short",
		"\xff\x15\x04":                           "login: server error 1045: nothing",
		"\xff\x15\x04no":                         `login: server error 1045: "no"`,
		"\xff\x15\x04#2":                         "login: server error 1045: nothing",
		"\xff\x15\x04#28000No way":               `login: server error 1045: "No way"`,
		"\xfe":                                   "login: ",
		"\x07":                                   "login: ",
		"\xfemysql_native_password\x00challenge": "login: malformed packet: expected the MySQL protocol",
	} {
		h := nettest.Start(t, sendPackets(greeting, packet(2, []byte(reply))))
		report, err := runCheck(t, user("u", ""), h.Addr())
		if want == "" {
			require.NoError(t, err, "%q", reply)
		} else {
			require.ErrorContains(t, err, want, "%q", reply)
			require.NotContains(t, err.Error(), "panic")
		}
		require.Equal(t, "mysql 8.4.0-weir", report.Detail)
	}
	whole := greetingOf("mysql_native_password")
	for n := range len(whole) {
		h := nettest.Start(t, sendPackets(packet(0, whole[:n]), packet(2, okPacket)))
		if _, err := runCheck(t, user("u", ""), h.Addr()); err != nil {
			require.NotContains(t, err.Error(), "panic", n)
			require.ErrorContains(t, err, "expected a MySQL greeting", n)
		}
	}
}

// A login to a server older than MySQL 4.1 fails with the server's version and the version that is needed.
func TestMySQLBefore41IsRejected(t *testing.T) {
	greeting := packet(0, append([]byte("\x0a4.0.30\x00\x01\x00\x00\x00\x09\x08\x07\x06\x05\x04\x03\x02\x00\x2c\x00\x08\x02\x00"), make([]byte, 13)...))
	for _, o := range []MySQL{user("u", ""), user("u", "secret"), {User: "u", Role: "primary"}} {
		h := nettest.Start(t, sendPackets(greeting))
		report, err := runCheck(t, o, h.Addr())
		require.EqualError(t, err, "login: expected a server of MySQL 4.1 or later, got an older one")
		require.Equal(t, "mysql 4.0.30", report.Detail)
	}
}
