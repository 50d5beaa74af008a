package checks

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// Without TLS, the password itself is sent only to the owner of a known key, or if the options allow any key.
func TestMySQLFullPasswordNeedsTLSOrKey(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(file, publicPEM(&key.PublicKey), 0o600))
	const refused = "login: the server asks for the password itself: use tls, server_public_key_file or allow_public_key"
	for _, plugin := range []string{cachingSHA2, sha256Password} {
		for _, c := range []struct {
			name  string
			o     MySQL
			key   *rsa.PrivateKey
			want  string
			given bool
		}{
			{"no option", MySQL{}, key, refused, false},
			{"any key", MySQL{AllowPublicKey: true}, nil, "", true},
			{"known key", MySQL{ServerKeyFile: file}, key, "", true},
			{"other key", MySQL{ServerKeyFile: file}, other, `login: server error 1045: "Access denied: no password"`, false},
			{"other key, any allowed", MySQL{ServerKeyFile: file, AllowPublicKey: true}, other, `login: server error 1045`, false},
		} {
			t.Run(plugin+", "+c.name, func(t *testing.T) {
				s := &mysqlServer{plugin: plugin, password: "secret", full: true, key: c.key}
				h := nettest.Start(t, s.handle)
				c.o.User, c.o.Password = "u", Secret{Value: "secret"}
				_, err := runCheck(t, c.o, h.Addr())
				if c.want == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, c.want)
				}
				require.Equal(t, c.given, s.given.Load(), "the server has the password")
			})
		}
	}
	_, err = MySQL{User: "u", ServerKeyFile: filepath.Join(t.TempDir(), "none")}.Monitor()
	require.ErrorContains(t, err, "server_public_key_file: open ")
	require.NoError(t, os.WriteFile(file, []byte("nothing"), 0o600))
	_, err = MySQL{User: "u", ServerKeyFile: file}.Monitor()
	require.ErrorContains(t, err, "no public key in PEM format")
}

// A server may ask for the login of MySQL before 4.1, whose proof reveals the password, or for the password in clear
// text. It gets neither, and an answer, so that it does not count the connection as broken off.
func TestMySQLInsecureMethodsAreRefused(t *testing.T) {
	for request, want := range map[string]string{
		"\xfe": "login: expected a login of MySQL 4.1 or later, got a request for an older one",
		"\xfemysql_old_password\x00" + challenge[:8] + "\x00": "login: expected a login of MySQL 4.1 or later, got a request for an older one",
		"\xfemysql_clear_password\x00":                        `login: unknown authentication method "mysql_clear_password"`,
		"\xfedialog\x00Password: ":                            `login: unknown authentication method "dialog"`,
	} {
		answer := make(chan string, 1)
		h := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
			_, _ = c.Write(packet(0, greetingOf(nativePassword)))
			_, _, _ = readPacket(c, "a login")
			_, _ = c.Write(packet(2, []byte(request)))
			p, _, _ := readPacket(c, "an answer")
			answer <- string(p)
			_, _ = c.Write(errorPacket(4, 1045, "Access denied"))
		})
		_, err := runCheck(t, user("u", "secret"), h.Addr())
		require.EqualError(t, err, want)
		require.Equal(t, "\x00", <-answer)
	}
}

func TestMySQLVersionWithoutPrefix(t *testing.T) {
	for sent, want := range map[string]string{
		"5.5.5-10.11.6-MariaDB-log": "mysql 10.11.6-MariaDB-log",
		"11.4.2-MariaDB":            "mysql 11.4.2-MariaDB",
		"5.5.5-m2":                  "mysql 5.5.5-m2",
		"8.4.0":                     "mysql 8.4.0",
	} {
		g, err := parseGreeting(append([]byte("\x0a"+sent+"\x00"), greetingOf("x")[1+len("8.4.0-weir")+1:]...))
		require.NoError(t, err)
		require.Equal(t, want, g.detail())
		require.Equal(t, challenge, string(g.challenge))
	}
}

func TestMySQLEd25519(t *testing.T) {
	m := nettest.StartMariaDB(t, "--plugin-load-add=auth_ed25519")
	runStatements(t, m, "CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret')")
	for range 20 {
		_, err := runCheck(t, user("ed", "secret"), m.Addr())
		require.NoError(t, err)
	}
	_, err := runCheck(t, user("ed", "wrong"), m.Addr())
	require.ErrorContains(t, err, "error 1045")
}

// An old or slow server that closes while the check writes its login is reported with its own error.
func TestMySQLErrorBeforeLogin(t *testing.T) {
	h := nettest.Start(t, nettest.SendText(string(packet(0, greetingOf(nativePassword)))+string(errorPacket(1, 1040, "Too many connections"))))
	_, err := checkWithin(t, user("u", "secret"), Target{Address: h.Addr()}, 5*time.Second)
	require.ErrorContains(t, err, "Too many connections")
	require.Equal(t, Full, outcomeOf(err))
}

// FuzzMySQLReplies passes bytes to the check as all that a server sends: greeting, login and results of queries.
func FuzzMySQLReplies(f *testing.F) {
	column := func(sequence byte, name string) []byte {
		return packet(sequence, []byte("\x03def\x00\x00\x00"+string(rune(len(name)))+name+"\x00\x0c\x2d\x00\x00\x04\x00\x00\xfd\x00\x00\x00\x00\x00"))
	}
	end := []byte("\xfe\x00\x00\x02\x00")
	greeting := packet(0, greetingOf(nativePassword))
	ok := packet(2, okPacket)
	variables := bytes.Join([][]byte{
		packet(1, []byte{2}), column(2, "Variable_name"), column(3, "Value"), packet(4, end), packet(5, []byte("\x09read_only\x03OFF")), packet(6, end),
	}, nil)
	row := bytes.Join([][]byte{packet(1, []byte{1}), column(2, "x"), packet(3, end), packet(4, []byte("\x011")), packet(5, end)}, nil)
	l := &mysqlLogin{user: "u", password: "secret", allowPublicKey: true}
	fuzzReplies(f, func(x *checkConn) (Report, error) {
		greeting, sequence, err := readGreeting(x)
		if err != nil {
			return Report{}, err
		}
		report := Report{Detail: greeting.detail()}
		s := &mysqlSession{conn: x, greeting: greeting}
		if err := l.authenticate(x, s, sequence, Target{}); err != nil {
			return report, err
		}
		if err := (MySQL{Role: "primary", Query: "SELECT 1"}).verify(s); err != nil {
			return report, err
		}
		return report, MySQL{Role: "replica", MaxLag: time.Second, Galera: true}.verify(s)
	}, string(greeting), string(greeting)+string(ok), string(greeting)+string(ok)+string(variables)+string(row),
		string(greeting)+string(ok)+string(variables)+string(row)+string(variables)+string(row),
		string(greeting)+string(errorPacket(2, 1045, "Access denied")), string(greeting)+string(packet(2, []byte("\xfecaching_sha2_password\x00"+challenge+"\x00")))+string(packet(4, []byte{1, 4})),
		string(greeting)+string(ok)+string(packet(1, []byte("\xfb/etc/passwd"))), string(greeting)+string(ok)+"\xff\xff\xff\x01")
}
