package checks

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

const pingWire = "*1\r\n$4\r\nPING\r\n"

// bulkString returns a bulk string of the Redis protocol.
func bulkString(s string) string {
	return "$" + itoa(len(s)) + "\r\n" + s + "\r\n"
}

func itoa(n int) string {
	digits := ""
	for ; n > 9; n /= 10 {
		digits = string(rune('0'+n%10)) + digits
	}
	return string(rune('0'+n)) + digits
}

// replyRedis replies to PING with ping and to every INFO with info, and closes after an info without a line end.
func replyRedis(ping, info string) nettest.Handler {
	first, again := [2]string{"PING\r\n", ping}, [2]string{"INFO\r\n", info}
	if !strings.HasSuffix(info, "\r\n") {
		return runScript(first, again)
	}
	return runScript(first, again, again, again)
}

func TestRedisReplies(t *testing.T) {
	primary := bulkString("# Server\r\nredis_version:7.0.15\r\n# Replication\r\nrole:master\r\nloading:0\r\n")
	replica := func(link, ago string) string {
		return bulkString("redis_version:7.0.15\r\nrole:slave\r\nmaster_link_status:" + link + "\r\nmaster_last_io_seconds_ago:" + ago + "\r\n")
	}
	active := func(link, ago string) string {
		return bulkString("redis_version:6.3.4\r\nrole:active-replica\r\nmaster_link_status:" + link + "\r\nmaster_last_io_seconds_ago:" + ago + "\r\n")
	}
	for _, c := range []struct {
		name       string
		o          Redis
		ping, info string
		want       string // the error
		detail     string
	}{
		{"primary", Redis{}, "+PONG\r\n", primary, "", "redis 7.0.15, primary"},
		{"primary wanted", Redis{Role: "primary", MaxLag: time.Second}, "+PONG\r\n", primary, "", ""},
		{"replica wanted", Redis{Role: "replica"}, "+PONG\r\n", primary, `role: expected replica, got "primary"`, ""},
		{"replica", Redis{}, "+PONG\r\n", replica("up", "3"), "", "redis 7.0.15, replica, link up, lag 3s"},
		{"replica, not primary", Redis{Role: "primary"}, "+PONG\r\n", replica("up", "3"), `role: expected primary, got "replica"`, ""},
		{"replica near enough", Redis{MaxLag: 3 * time.Second}, "+PONG\r\n", replica("up", "3"), "", ""},
		{"replica too far", Redis{MaxLag: 2 * time.Second}, "+PONG\r\n", replica("up", "3"), "replication: expected a lag of at most 2s, got 3s", ""},
		{"replica with odd lag", Redis{MaxLag: 2 * time.Second}, "+PONG\r\n", replica("up", "-1"), "got an unknown lag", ""},
		{"replica alone", Redis{}, "+PONG\r\n", replica("down", "-1"), "replication: the link to the primary is down", "redis 7.0.15, replica, link down"},
		{"replica alone, accepted", Redis{AllowStale: true}, "+PONG\r\n", replica("down", "-1"), "", ""},
		{"loading, by INFO", Redis{}, "+PONG\r\n", bulkString("loading:1\r\n"), "loading its data", ""},
		{"valkey", Redis{}, "+PONG\r\n", bulkString("redis_version:7.2.4\r\nvalkey_version:8.0.1\r\nrole:master\r\n"), "", "valkey 8.0.1, primary"},
		{"error", Redis{}, "-ERR x\r\n", "", `PING: server replied "ERR x"`, ""},
		{"noauth", Redis{}, "-NOAUTH Authentication required.\r\n", "", `PING: server replied "NOAUTH Authentication required."`, ""},
		{"loading", Redis{}, "-LOADING Redis is loading the dataset in memory\r\n", "", "LOADING", ""},
		{"masterdown", Redis{}, "-MASTERDOWN Link with MASTER is down\r\n", "", "MASTERDOWN", ""},
		{"control characters", Redis{}, "-ERR \x1b[31m\x00\xff\r\n", "", `"ERR \x1b[31m\x00\xff"`, ""},
		{"wrong word", Redis{}, "+PANG\r\n", "", `PING: wrong reply: expected "PONG", got "PANG"`, ""},
		{"no INFO allowed", Redis{}, "+PONG\r\n", "-NOPERM no\r\n", "", "answers PING, not INFO"},
		{"no INFO, but needed", Redis{Role: "primary"}, "+PONG\r\n", "-NOPERM no\r\n", `INFO: server replied "NOPERM no"`, ""},
		{"INFO that is none", Redis{}, "+PONG\r\n", "<html>", `INFO: not a Redis reply: expected a Redis reply, got "<html>"`, ""},
		{"INFO too large", Redis{}, "+PONG\r\n", "$9000000\r\n", "INFO: reply too large (over 8388608 bytes)", ""},
		{"INFO with a mad length", Redis{}, "+PONG\r\n", "$-99999999999999999999\r\n", "INFO: wrong length", ""},
		{"INFO cut short", Redis{}, "+PONG\r\n", "$100\r\nredis_ver", `INFO: connection closed by the server: expected a Redis reply, got "redis_ver"`, ""},
		{"active replica", Redis{Role: "primary"}, "+PONG\r\n", active("down", "-1"), "", "redis 6.3.4, active replica, link down"},
		{"active replica, not replica", Redis{Role: "replica"}, "+PONG\r\n", active("up", "1"), `role: expected replica, got "active replica"`, ""},
		{"active replica near enough", Redis{MaxLag: 3 * time.Second}, "+PONG\r\n", active("up", "3"), "", ""},
		{"active replica too far", Redis{MaxLag: 2 * time.Second}, "+PONG\r\n", active("up", "3"), "expected a lag of at most 2s, got 3s", ""},
		{"active replica alone", Redis{MaxLag: 2 * time.Second}, "+PONG\r\n", active("down", "-1"), "the link to the primary is down", ""},
		{"one of two links down", Redis{}, "+PONG\r\n", bulkString("role:slave\r\nmaster_link_status:up\r\nmaster_1_link_status:down\r\n"), "link to the primary is down", ""},
		{"while syncing", Redis{AllowStale: true}, "+PONG\r\n", bulkString("role:slave\r\nmaster_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\nmaster_sync_last_io_seconds_ago:0\r\n"), "", "replica, link down"},
		{"role of its own", Redis{}, "+PONG\r\n", bulkString("role:sentinel\x1b\r\n"), "", "sentinel?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := nettest.Start(t, replyRedis(c.ping, c.info))
			report, err := runCheck(t, c.o, h.Addr())
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
			} else {
				require.NoError(t, err)
			}
			if c.detail != "" {
				require.Equal(t, c.detail, report.Detail)
			}
		})
	}
}

func TestRedisHostileServers(t *testing.T) {
	for _, c := range []struct {
		name string
		host nettest.Handler
		want string
	}{
		{"silent", nettest.Silent, "PING: timed out"},
		{"closes", runScript([2]string{"PING\r\n", ""}), "PING: connection closed by the server"},
		{"closes in the middle", runScript([2]string{"PING\r\n", "+PO"}), `PING: connection closed by the server: expected a Redis reply, got "+PO"`},
		{"endless line", sendEndless("+", "A"), `PING: line too long (over 512 bytes): expected a Redis reply, got "+AAAA`},
		{"garbage", sendEndless("", "\x00\xff"), `PING: not a Redis reply: expected a Redis reply, got "\x00\xff`},
		{"another protocol", nettest.SendText("HTTP/1.1 400 Bad Request\r\n"), `got "HTTP/1.1 400 Bad Request`},
		{"empty lines", sendEndless("", "\r\n"), "PING: empty line"},
		{"dripping", sendPieces(60*time.Millisecond, strings.Split(strings.Repeat("+ ", 50), " ")...), "PING: timed out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := nettest.Start(t, c.host)
			_, err := checkWithin(t, Redis{}, Target{Address: h.Addr()}, limitFor(c.want))
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestRedisSendsOnlyPingFirst(t *testing.T) {
	var h received
	host := nettest.Start(t, recordScript(&h, [2]string{"PING\r\n", "+PONG\r\n"}))
	_, err := runCheck(t, Redis{}, host.Addr())
	require.NoError(t, err, "a server that does not answer INFO is none the worse for it")
	require.Equal(t, pingWire, h.String())
}

func TestRedisAtMaxClientsIsFull(t *testing.T) {
	for _, text := range []string{"max number of clients reached", "max number of clients + cluster connections reached"} {
		h := nettest.Start(t, nettest.SendText("-ERR "+text+"\r\n"))
		for _, o := range []Redis{{}, {Password: Secret{Value: "secret"}}} {
			_, err := runCheck(t, o, h.Addr())
			require.ErrorContains(t, err, text)
			require.Equal(t, Full, outcomeOf(err))
		}
	}

	s := nettest.StartRedis(t, "--maxclients", "3")
	_, err := runCheck(t, Redis{}, s.Addr())
	require.NoError(t, err)
	for range 3 {
		sendRedis(t, s.Addr(), "PING")
	}
	_, err = runCheck(t, Redis{}, s.Addr())
	require.Equal(t, Full, outcomeOf(err), "%v", err)
}

// A server whose INFO is large is as healthy as another one: the reply is read in part and not kept.
func TestRedisWithLargeInfoPasses(t *testing.T) {
	s := nettest.StartRedis(t, "--databases", "5000", "--requirepass", "secret")
	conn := nettest.Dial(t, s.Addr())
	r := newRESPReader(conn)
	_, err := r.command(conn, "AUTH", "secret")
	require.NoError(t, err)
	for i := range 4000 {
		_, err := r.command(conn, "SELECT", itoa(i))
		require.NoError(t, err)
		_, err = r.command(conn, "SET", "k", "v")
		require.NoError(t, err)
	}
	size := 0
	require.NoError(t, r.lines(conn, func(line []byte) { size += len(line) + 2 }, "INFO", "everything"))
	require.Greater(t, size, 83_000)
	_, err = runCheck(t, Redis{Password: Secret{Value: "secret"}, Role: "primary"}, s.Addr())
	require.NoError(t, err)

	// A server that ignores the section, with lines of any length and the values at the end.
	for _, junk := range []string{strings.Repeat("db0:keys=1,expires=0\r\n", 40_000), "x:" + strings.Repeat("y", 4<<20) + "\r\n"} {
		info := bulkString(junk + "redis_version:7.0.15\r\nrole:slave\r\nmaster_link_status:up\r\nloading:0\r\n")
		h := nettest.Start(t, replyRedis("+PONG\r\n", info))
		report, err := runCheck(t, Redis{Role: "replica"}, h.Addr())
		require.NoError(t, err)
		require.Equal(t, "redis 7.0.15, replica, link up", report.Detail)
	}
}

func TestRedisWithOtherRoleIsStandby(t *testing.T) {
	for info, role := range map[string]string{
		"role:master\r\n": "replica", "role:slave\r\nmaster_link_status:up\r\n": "primary", "role:active-replica\r\n": "replica",
	} {
		h := nettest.Start(t, replyRedis("+PONG\r\n", bulkString(info)))
		_, err := runCheck(t, Redis{Role: role}, h.Addr())
		require.Equal(t, Standby, outcomeOf(err), "%v", err)
	}
	for _, info := range []string{"role:sentinel\r\n", "", "role:slave\r\nloading:1\r\n"} {
		h := nettest.Start(t, replyRedis("+PONG\r\n", bulkString(info)))
		_, err := runCheck(t, Redis{Role: "primary"}, h.Addr())
		require.Equal(t, Failed, outcomeOf(err), "%v", err)
	}
}

func TestRedisPasswordIsRedacted(t *testing.T) {
	const password = "s3cr3t \"pass\""
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(password+"\n"), 0o600))
	t.Setenv("WEIR_TEST_PASSWORD", password)
	for _, s := range []Secret{{Value: password}, {File: file}, {Env: "WEIR_TEST_PASSWORD"}} {
		require.NotContains(t, s.String()+s.GoString(), "s3cr3t")
		for name, host := range map[string]nettest.Handler{
			"echo": nettest.Echo,
			"repeats it in an error": func(_ context.Context, c *net.TCPConn) {
				_, _ = c.Read(make([]byte, 1000))
				_, _ = c.Write([]byte("-WRONGPASS " + password + " is wrong\r\n"))
			},
			"sends it first":   nettest.SendText(password + "\r\n"),
			"sends half of it": sendThenSilent("+s3cr3t"),
			"sends it later": func(_ context.Context, c *net.TCPConn) {
				_, _ = c.Read(make([]byte, 1000))
				_, _ = c.Write([]byte("+OK\r\n"))
				_, _ = c.Read(make([]byte, 1000))
				_, _ = c.Write([]byte("-ERR I know " + password + "\r\n"))
			},
			"sends it and closes": nettest.SendText("+" + password),
		} {
			h := nettest.Start(t, host)
			_, err := checkWithin(t, Redis{User: "u", Password: s}, Target{Address: h.Addr()}, 300*time.Millisecond)
			require.Error(t, err, name)
			require.NotContains(t, err.Error(), "s3cr3t", name)
		}
	}
	_, err := Redis{Password: Secret{File: filepath.Join(t.TempDir(), "none")}}.Monitor()
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Redis{Password: Secret{Env: "WEIR_TEST_NONE"}}.Monitor()
	require.ErrorContains(t, err, "password_env: WEIR_TEST_NONE is not set")
	_, err = Redis{Role: "master"}.Monitor()
	require.ErrorContains(t, err, `want primary or replica, got "master"`)
}

func TestRedisReal(t *testing.T) {
	primary := nettest.StartRedis(t)
	host, port, err := net.SplitHostPort(primary.Addr())
	require.NoError(t, err)
	report, err := runCheck(t, Redis{Role: "primary"}, primary.Addr())
	require.NoError(t, err)
	require.Regexp(t, `^(redis|valkey) [0-9.]+, primary$`, report.Detail)

	replica := nettest.StartRedis(t, "--replicaof", host, port)
	nettest.Wait(t, 10*time.Second, "the replica to follow", func() bool {
		_, err = runCheck(t, Redis{Role: "replica", MaxLag: time.Minute}, replica.Addr())
		return err == nil
	})
	_, err = runCheck(t, Redis{Role: "primary"}, replica.Addr())
	require.ErrorContains(t, err, "role: expected primary")

	sendRedis(t, primary.Addr(), "CONFIG", "SET", "requirepass", "secret")
	_, err = runCheck(t, Redis{}, primary.Addr())
	require.ErrorContains(t, err, "NOAUTH")
	_, err = runCheck(t, Redis{Password: Secret{Value: "secret"}}, primary.Addr())
	require.NoError(t, err)
	_, err = runCheck(t, Redis{User: "default", Password: Secret{Value: "secret"}}, primary.Addr())
	require.NoError(t, err)
	_, err = runCheck(t, Redis{Password: Secret{Value: "wrong"}}, primary.Addr())
	require.ErrorContains(t, err, "AUTH: server replied \"WRONGPASS")

	// From outside, a stopped process looks like a hung one.
	require.NoError(t, syscall.Kill(primary.PID(), syscall.SIGSTOP))
	_, err = checkWithin(t, Redis{Password: Secret{Value: "secret"}}, Target{Address: primary.Addr()}, 300*time.Millisecond)
	require.NoError(t, syscall.Kill(primary.PID(), syscall.SIGCONT))
	require.ErrorIs(t, err, context.DeadlineExceeded)

	primary.Kill()
	_, err = runCheck(t, Redis{}, primary.Addr())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	nettest.Wait(t, 10*time.Second, "the replica to notice", func() bool {
		_, err = runCheck(t, Redis{}, replica.Addr())
		return err != nil
	})
	require.ErrorContains(t, err, "the link to the primary is down")
	_, err = runCheck(t, Redis{AllowStale: true}, replica.Addr())
	require.NoError(t, err)
}

// sendRedis sends a command to a server.
func sendRedis(t *testing.T, address string, words ...string) {
	t.Helper()
	conn := nettest.Dial(t, address)
	_, err := newRESPReader(conn).command(conn, words...)
	require.NoError(t, err)
}
