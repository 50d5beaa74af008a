package checks

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// Packets that are shorter than those of today's servers are taken for what they are, and what is too short for that is no
// reason to panic.
func TestMySQLShortPackets(t *testing.T) {
	greeting := packet(0, greetingOf("mysql_native_password"))
	for reply, want := range map[string]string{
		"\x00":                                   "",
		"\x00\x00\x00":                           "",
		"\x00\x00\x00\x02\x00":                   "",
		"\x00\xfe":                               "",
		"\xff":                                   "login: the server said error 0",
		"\xff\x15":                               "login: the server said error 21",
		"\xff\x15\x04":                           "login: the server said error 1045: nothing",
		"\xff\x15\x04no":                         `login: the server said error 1045: "no"`,
		"\xff\x15\x04#2":                         "login: the server said error 1045: nothing",
		"\xff\x15\x04#28000No way":               `login: the server said error 1045: "No way"`,
		"\xfe":                                   "login: ",
		"\x07":                                   "login: ",
		"\xfemysql_native_password\x00challenge": "login: malformed packet: expected the MySQL protocol",
	} {
		h := nettest.Start(t, saying(greeting, packet(2, []byte(reply))))
		report, err := check(t, user("u", ""), h.Addr())
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
		h := nettest.Start(t, saying(packet(0, whole[:n]), packet(2, okPacket)))
		if _, err := check(t, user("u", ""), h.Addr()); err != nil {
			require.NotContains(t, err.Error(), "panic", n)
			require.ErrorContains(t, err, "expected a MySQL greeting", n)
		}
	}
}

// Servers of before MySQL 4.1 are logged in to as those want it.
func TestMySQLBefore41(t *testing.T) {
	greeting := packet(0, append([]byte("\x0a4.0.30\x00\x01\x00\x00\x00\x09\x08\x07\x06\x05\x04\x03\x02\x00\x2c\x00\x08\x02\x00"), make([]byte, 13)...))
	for _, c := range []struct {
		o     MySQL
		reply []byte
		want  string
	}{
		{user("u", ""), packet(2, []byte{0, 0, 0}), ""},
		{user("u", "C0mpl!ca ted#PASS123"), packet(2, []byte{0, 0, 0, 2, 0}), ""},
		{user("u", "secret"), errorPacket(2, 1045, "Access denied for secret"), `login: the server said error 1045: "Access denied for ***"`},
		{user("u", ""), packet(2, []byte{0xfe}), "login: wrong reply: expected an answer to a login"},
		{user("u", ""), nil, "login: connection closed by the server: expected an answer to a login"},
		{MySQL{User: "u", Role: "primary"}, nil, "login: expected a server of MySQL 4.1 or later"},
	} {
		h := nettest.Start(t, saying(greeting, c.reply))
		report, err := check(t, c.o, h.Addr())
		if c.want == "" {
			require.NoError(t, err)
			require.Equal(t, "mysql 4.0.30", report.Detail)
		} else {
			require.ErrorContains(t, err, c.want)
		}
	}
	require.Equal(t, "\x13\x00\x00\x01\x01\x00\x00\x10\x00root\x00]]UHIXJE\x00", string(oldLogin(1, "root", "C0mpl!ca ted#PASS123", [8]byte{9, 8, 7, 6, 5, 4, 3, 2})))
	for password, proof := range map[string]string{
		" pass": "47575c5a435b4251", "pass ": "47575c5a435b4251", "123\t456": "575c47505b5b5559", "C0mpl!ca ted#PASS123": "5d5d554849584a45", "": "",
	} {
		require.Equal(t, proof, hex.EncodeToString(oldScramble([8]byte{9, 8, 7, 6, 5, 4, 3, 2}, password)), password)
	}
}
