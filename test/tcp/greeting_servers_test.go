package tcp_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A real MariaDB that is full: clients work with the other server, and get the
// real server's refusal if there is none.
func TestMariaDBRefusesAfterAccepting(t *testing.T) {
	t.Parallel()
	bad := nettest.StartMariaDB(t, "--max-connections=10")
	good := nettest.StartMariaDB(t)
	run := func(m *nettest.MariaDB, addr, query string) (string, error) {
		out, err := m.Client(addr, "-e", query).CombinedOutput()
		return string(out), err
	}
	_, err := run(good, good.Addr(), "CREATE DATABASE good")
	require.NoError(t, err)
	config := weirtest.Config{Cluster: "greeting = \"mysql\"\nbalance = \"first\"\nmax_fails = 0", Levels: weirtest.OneLevel(bad.Addr()+" name=A", good.Addr()+" name=B")}
	_, addr, a := weirtest.ServeAPI(t, config)
	config.Levels = weirtest.OneLevel(bad.Addr() + " name=A")
	_, alone := weirtest.Serve(t, config)
	served := func(refusal string) {
		t.Helper()
		out, err := run(good, alone, "SELECT 1")
		require.Error(t, err)
		require.Contains(t, out, refusal)
		before := a.Server("B")["sessions_total"].(float64)
		for range 3 {
			out, err := run(good, addr, "SHOW DATABASES")
			require.NoError(t, err, "%s", out)
			require.Contains(t, out, "good")
		}
		require.Equal(t, before+3, a.Server("B")["sessions_total"])
	}

	for range 11 {
		mysqlPacket(t, nettest.Dial(t, bad.Addr()))
	}
	served("1040")
}

// mysqlPacket reads one packet.
func mysqlPacket(t *testing.T, c net.Conn) string {
	t.Helper()
	header := make([]byte, 4)
	_, err := io.ReadFull(c, header)
	require.NoError(t, err)
	body := make([]byte, int(header[0])+int(header[1])<<8)
	_, err = io.ReadFull(c, body)
	require.NoError(t, err)
	return string(body)
}

// A MariaDB without a user for this host.
func TestMariaDBDoesNotAllowHost(t *testing.T) {
	t.Parallel()
	bad, good := nettest.StartMariaDB(t), nettest.StartMariaDB(t)
	out, err := bad.Client(bad.Addr(), "-e", "DELETE FROM mysql.global_priv WHERE Host NOT IN ('localhost'); FLUSH PRIVILEGES").CombinedOutput()
	require.NoError(t, err, "%s", out)
	w, addr := weirtest.Serve(t, weirtest.Config{Cluster: "greeting = \"mysql\"\nbalance = \"first\"\nmax_fails = 2", Levels: weirtest.OneLevel(bad.Addr()+" name=A", good.Addr()+" name=B")})
	for range 3 {
		out, err := good.Client(addr, "-e", "SELECT 1").CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	w.WaitEvent("server_down", "A")
	require.NotEmpty(t, w.Records(func(r weirtest.Record) bool { return strings.Contains(r.Text("reason"), "MySQL error 1130") }))
}

// A real Redis that has reached maxclients: clients work with the other server, and get the refusal if there is none.
func TestRedisWithMaxClientsReached(t *testing.T) {
	t.Parallel()
	full, good := nettest.StartRedis(t), nettest.StartRedis(t)
	require.Equal(t, "OK\n", weirtest.RedisCLI(t, full.Addr(), "CONFIG", "SET", "maxclients", "1"))
	holds := nettest.Dial(t, full.Addr())
	require.NoError(t, weirtest.RedisPings(holds, 1))
	config := weirtest.Config{Cluster: "greeting = \"redis\"\nbalance = \"first\"", Levels: weirtest.OneLevel(full.Addr()+" name=A", good.Addr()+" name=B")}
	w, addr := weirtest.Serve(t, config)
	require.Equal(t, "OK\n", weirtest.RedisCLI(t, addr, "SET", "k", "1"))
	out := weirtest.RunRedisTool(t, "redis-benchmark", addr, "-q", "-n", fmt.Sprint(weirtest.Scaled(2000)), "-c", "20", "-P", "8", "-t", "incr")
	require.NotContains(t, out, "Error")
	require.Equal(t, fmt.Sprintf("%d\n", weirtest.Scaled(2000)), weirtest.RedisCLI(t, good.Addr(), "GET", "counter:__rand_int__"), "nothing is executed twice")
	require.Empty(t, w.Warnings())

	config.Levels = weirtest.OneLevel(full.Addr() + " name=A")
	w, addr = weirtest.Serve(t, config)
	c := nettest.Dial(t, addr)
	data, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(t, redisFull, string(data))
	require.Equal(t, nettest.EOF, end)
	require.Equal(t, "dial server_refused", w.SessionRecord(c).Termination())
}

// A real Redis in protected mode refuses clients of other hosts.
func TestRedisInProtectedMode(t *testing.T) {
	t.Parallel()
	weir, servers := nettest.NewNamespace(t), nettest.NewNamespace(t)
	weir.Connect(servers, "10.1.0.1", "10.1.0.2")
	servers.StartRedis("10.1.0.2:7001", "--protected-mode", "no")
	servers.Exec("redis-cli", "-h", "10.1.0.2", "-p", "7001", "CONFIG", "SET", "protected-mode", "yes")
	good := weir.StartRedis("127.0.0.1:7002")
	w := weirtest.Options{Namespace: weir}.Start(t, weirtest.Config{
		Listen: "127.0.0.1:7000", Cluster: "greeting = \"redis\"\nbalance = \"first\"\nmax_fails = 2", Levels: weirtest.OneLevel("10.1.0.2:7001 name=A", good.Addr()+" name=B"),
	}.String())
	for range 3 {
		require.NoError(t, weirtest.RedisPings(weir.Dial("127.0.0.1:7000"), 2))
	}
	w.WaitEvent("server_down", "A")
	require.NotEmpty(t, w.Records(func(r weirtest.Record) bool { return strings.Contains(r.Text("reason"), "DENIED") }))
}

// A MariaDB that has blocked weir's host: max_connect_errors connections from it have ended before a login.
func TestMariaDBHasBlockedHost(t *testing.T) {
	t.Parallel()
	weir, servers := nettest.NewNamespace(t), nettest.NewNamespace(t)
	weir.Connect(servers, "10.1.0.1", "10.1.0.2")
	var bad, good *nettest.MariaDB
	servers.Do(func() {
		bad = nettest.StartMariaDBWithNames(t, map[string]string{"10.1.0.1": "balancer"}, "--max-connect-errors=3", "--bind-address=0.0.0.0")
		good = nettest.StartMariaDB(t, "--bind-address=0.0.0.0")
	})
	at := func(m *nettest.MariaDB) string {
		_, port, err := net.SplitHostPort(m.Addr())
		require.NoError(t, err)
		return net.JoinHostPort("10.1.0.2", port)
	}
	nettest.Wait(t, 10*time.Second, "the host to be blocked", func() bool {
		c := weir.Dial(at(bad))
		defer c.Close()
		return strings.HasPrefix(mysqlPacket(t, c), "\xff\x69\x04") // 1129
	})
	w := weirtest.Options{Namespace: weir}.Start(t, weirtest.Config{
		Listen: "127.0.0.1:7000", Cluster: "greeting = \"mysql\"\nbalance = \"first\"\nmax_fails = 2", Levels: weirtest.OneLevel(at(bad)+" name=A", at(good)+" name=B"),
	}.String())
	for range 3 {
		weir.Do(func() {
			out, err := good.Client("127.0.0.1:7000", "-e", "SELECT 1").CombinedOutput()
			require.NoError(t, err, "%s", out)
		})
	}
	w.WaitEvent("server_down", "A")
	require.NotEmpty(t, w.Records(func(r weirtest.Record) bool { return strings.Contains(r.Text("reason"), "MySQL error 1129") }))
}
