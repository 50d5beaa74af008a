// Clusters that follow the roles of their servers: one for writes and one for reads over the same servers.

package health_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// The intervals of role checks. They detect a change within foundOut.
const (
	rolePace = "interval = \"800ms\"\ntimeout = \"800ms\"\nfast_interval = \"200ms\"\ndown_interval = \"200ms\"\nfall = 2\nrise = 2\n"
	foundOut = 800*time.Millisecond + 200*time.Millisecond*2
)

// roles is a weir with a listener for writes and one for reads.
type roles struct {
	*weirtest.Weir
	write, read string
}

func startRoles(t *testing.T, cluster, check, a, b string) *roles {
	t.Helper()
	r := &roles{write: nettest.Reserve(t), read: nettest.Reserve(t)}
	list := weirtest.OneLevel(a+" name=A", b+" name=B")
	l := weirtest.Config{
		Listen: r.write, Levels: list, Cluster: cluster + "\non_down = \"close\"",
		Checks: "[[cluster.c.check]]\n" + rolePace + check + "role = \"primary\"\n",
		More: "[[listener]]\nname = \"r\"\naddress = \"" + r.read + "\"\ncluster = \"r\"\n[cluster.r]\n" +
			"[[cluster.r.level]]\nservers = [\"" + strings.Join(list[0], "\", \"") + "\"]\n" +
			"[[cluster.r.check]]\n" + rolePace + check + "role = \"replica\"\nmax_lag = \"1m\"\n",
	}
	r.Weir = weirtest.Start(t, l.String())
	return r
}

// changes returns a server's changes to a state in a cluster so far.
func (r *roles) changes(cluster, server, to string) []weirtest.Record {
	return r.Records(func(e weirtest.Record) bool {
		return e["event"] != nil && e.Text("cluster") == cluster && e.Text("server") == server && e.Text("to") == to
	})
}

// turns waits for a server's n-th change to a state in a cluster and returns how long after a moment it was.
func (r *roles) turns(cluster, server, to string, n int, since time.Time) time.Duration {
	r.T.Helper()
	var found []weirtest.Record
	nettest.Wait(r.T, 40*time.Second, fmt.Sprintf("%s/%s to go %s", cluster, server, to), func() bool {
		found = r.changes(cluster, server, to)
		return len(found) >= n
	})
	at, err := time.Parse(time.RFC3339Nano, found[n-1].Text("time"))
	require.NoError(r.T, err)
	return at.Sub(since)
}

// heldSessions opens n sessions that stay open.
func heldSessions(t *testing.T, addr string, n int) (held []*net.TCPConn) {
	t.Helper()
	for range n {
		held = append(held, nettest.Dial(t, addr))
	}
	return held
}

// areCut waits until all sessions are reset and their records have the reason.
func (r *roles) areCut(held []*net.TCPConn, server string) {
	r.T.Helper()
	for _, c := range held {
		_, end := nettest.ReadToEnd(c, 20*time.Second)
		require.Equal(r.T, nettest.Reset, end)
		client := c.LocalAddr().String() // which another session may have had before
		record := r.WaitRecord(15*time.Second, "the session's record", func(r weirtest.Record) bool {
			return r.Text("client") == client && strings.HasPrefix(r.Text("reason"), "cut_")
		})
		require.Equal(r.T, server, record.Text("server"))
		require.Equal(r.T, "relay cut_server_down", record.Termination())
	}
}

func TestRedisRoles(t *testing.T) {
	t.Parallel()
	const password = "hunter2-of-roles"
	auth := []string{"--requirepass", password, "--masterauth", password, "--repl-diskless-sync-delay", "0"}
	a, b := nettest.StartRedis(t, auth...), nettest.StartRedis(t, auth...)
	tell := func(addr string, words ...string) string {
		return weirtest.RedisCLI(t, addr, append([]string{"-a", password, "--no-auth-warning"}, words...)...)
	}
	follow := func(replica, primary *nettest.Redis) {
		host, port, _ := net.SplitHostPort(primary.Addr())
		require.Equal(t, "OK\n", tell(replica.Addr(), "REPLICAOF", host, port))
	}
	follow(b, a)
	r := startRoles(t, "protected = false", fmt.Sprintf("type = \"redis\"\npassword_file = %q\n", file(t, "password", password)), a.Addr(), b.Addr())
	r.turns("c", "B", "standby", 1, time.Time{})
	r.turns("r", "A", "standby", 1, time.Time{})
	require.Contains(t, tell(r.write, "INFO", "replication"), "role:master")
	nettest.Wait(t, 30*time.Second, "the replica to serve", func() bool { return strings.Contains(tell(r.read, "INFO", "replication"), "master_link_status:up") })
	require.Contains(t, tell(r.read, "INFO", "replication"), "role:slave")

	writers, readers := heldSessions(t, r.write, 20), heldSessions(t, r.read, 5)
	settle := func(c *net.TCPConn) {
		require.NoError(t, weirtest.WriteText(c, "AUTH "+password+"\r\n"))
		line, err := bufio.NewReader(c).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "+OK\r\n", line)
	}
	for _, c := range append(writers, readers...) {
		settle(c)
	}

	// Promote as an operator of the replication does.
	promoted := time.Now()
	require.Equal(t, "OK\n", tell(b.Addr(), "REPLICAOF", "NO", "ONE"))
	follow(a, b)
	took := time.Since(promoted)
	down := r.turns("c", "A", "standby", 1, promoted)
	up := r.turns("c", "B", "up", 1, promoted)
	t.Logf("promotion took %v; writing left the old primary after %v and reached the new one after %v", took, down, up)
	require.Less(t, down, weirtest.Bound(took+foundOut+500*time.Millisecond)+nettest.StalledSince(promoted))
	require.Less(t, up, weirtest.Bound(took+foundOut+500*time.Millisecond)+nettest.StalledSince(promoted))
	r.areCut(writers, "A")
	for range 10 {
		require.Equal(t, "OK\n", tell(r.write, "SET", "key", "value"))
	}
	r.turns("r", "A", "up", 1, promoted)
	r.turns("r", "B", "standby", 1, promoted)
	require.Contains(t, tell(r.read, "INFO", "replication"), "role:slave")
	for _, c := range readers { // on_down = "keep"
		require.NoError(t, weirtest.WriteText(c, "PING\r\n"))
		line, err := bufio.NewReader(c).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "+PONG\r\n", line)
	}

	// The new primary fails: the replica without a link is the last one to read from, and no server takes writes.
	unstable := len(r.changes("r", "A", "unstable"))
	b.Kill()
	r.turns("c", "B", "down", 1, time.Time{})
	r.turns("r", "A", "unstable", unstable+1, time.Time{})
	require.Contains(t, tell(r.read, "INFO", "replication"), "role:slave")
	c, err := nettest.TryDial(r.write)
	if err == nil {
		_, end := nettest.ReadToEnd(c, 20*time.Second)
		require.Equal(t, nettest.Reset, end)
		c.Close()
	}
	require.NotContains(t, r.Output(), password)
}

// Under a stream of writes, a promotion costs only the writes under way, and none after its detection. The old primary
// is the last server for a moment and protected; its sessions are cut when the new one is up.
func TestRedisPromotionUnderLoad(t *testing.T) {
	t.Parallel()
	a, b := nettest.StartRedis(t, "--repl-diskless-sync-delay", "0"), nettest.StartRedis(t, "--repl-diskless-sync-delay", "0")
	follow := func(replica, primary *nettest.Redis) {
		host, port, _ := net.SplitHostPort(primary.Addr())
		weirtest.RedisCLI(t, replica.Addr(), "REPLICAOF", host, port)
	}
	follow(b, a)
	r := startRoles(t, "protected = true", "type = \"redis\"\n", a.Addr(), b.Addr())
	r.turns("c", "B", "standby", 1, time.Time{})
	var (
		mu      sync.Mutex
		written int
		last    time.Time // of the last write that failed
		wg      sync.WaitGroup
	)
	ctx, cancel := context.WithCancel(context.Background())
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				err := redisSets(r.write, 10)
				mu.Lock()
				if err != nil {
					last = began
				} else {
					written++
				}
				mu.Unlock()
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return written
	}
	more := func(n int) {
		before := count()
		nettest.Wait(t, 20*time.Second, "writes", func() bool { return count() >= before+n })
	}
	more(50)
	held := heldSessions(t, r.write, 5)
	for _, c := range held {
		require.NoError(t, weirtest.RedisPings(c, 1))
	}
	promoted := time.Now()
	weirtest.RedisCLI(t, b.Addr(), "REPLICAOF", "NO", "ONE")
	follow(a, b)
	took := time.Since(promoted)
	down := r.turns("c", "A", "standby", 1, promoted)
	up := r.turns("c", "B", "up", 1, promoted)
	r.areCut(held, "A")
	more(100)
	cancel()
	wg.Wait()
	t.Logf("promotion took %v, the last write that failed began after %v, the new primary was up after %v, %d batches written",
		took, last.Sub(promoted), up, written)
	require.Less(t, last.Sub(promoted), max(down, up)+weirtest.Bound(100*time.Millisecond)+nettest.StalledSince(promoted))
}

// redisSets writes n keys over one connection.
func redisSets(addr string, n int) error {
	c, err := nettest.TryDial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	lines := bufio.NewReader(c)
	for i := range n {
		if err := weirtest.WriteText(c, fmt.Sprintf("SET key:%d value\r\n", i)); err != nil {
			return err
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		if line != "+OK\r\n" {
			return fmt.Errorf("SET was answered %q", line)
		}
	}
	return nil
}

func TestMariaDBRoles(t *testing.T) {
	t.Parallel()
	const password = "hunter2-of-roles"
	a := nettest.StartMariaDB(t, "--server-id=1", "--log-bin", "--log-slave-updates", "--gtid-strict-mode=1")
	b := nettest.StartMariaDB(t, "--server-id=2", "--log-bin", "--log-slave-updates", "--gtid-strict-mode=1", "--read-only=1")
	tell := func(db *nettest.MariaDB, addr, statements string) string {
		t.Helper()
		out, err := db.Client(addr, "-e", statements).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	monitor := fmt.Sprintf("SET sql_log_bin = 0; CREATE USER monitor@'%%' IDENTIFIED BY '%s'; GRANT REPLICA MONITOR ON *.* TO monitor@'%%';"+
		"CREATE USER writer@'%%' IDENTIFIED BY 'secret'; GRANT CREATE, INSERT, SELECT ON shop.* TO writer@'%%'", password)
	tell(a, a.Addr(), "RESET MASTER; "+monitor)
	tell(b, b.Addr(), "RESET MASTER; "+monitor)
	follow := func(replica, primary *nettest.MariaDB) {
		host, port, _ := net.SplitHostPort(primary.Addr())
		tell(replica, replica.Addr(), "SET GLOBAL read_only = 1; STOP SLAVE; CHANGE MASTER TO MASTER_HOST='"+host+"', MASTER_PORT="+port+
			", MASTER_USER='weir', MASTER_PASSWORD='secret', MASTER_USE_GTID=current_pos, MASTER_CONNECT_RETRY=1; START SLAVE")
	}
	follow(b, a)
	r := startRoles(t, "protected = false", fmt.Sprintf("type = \"mysql\"\nuser = \"monitor\"\npassword = %q\n", password), a.Addr(), b.Addr())
	r.turns("c", "B", "standby", 1, time.Time{})
	r.turns("r", "A", "standby", 1, time.Time{})
	nettest.Wait(t, 15*time.Second, "the replica to be read from", func() bool { return tell(a, r.read, "SELECT @@server_id, @@read_only") == "2\t1\n" })
	write := func(id int) (string, error) {
		cmd := a.Client(r.write, "--user=writer", "-e", fmt.Sprintf("CREATE DATABASE IF NOT EXISTS shop; CREATE TABLE IF NOT EXISTS shop.item (id INT); INSERT INTO shop.item VALUES (%d); SELECT @@server_id", id))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := write(1)
	require.NoError(t, err, "%s", out)
	require.Equal(t, "1\n", out)

	writers := heldSessions(t, r.write, 10)
	for _, c := range writers {
		_, err := c.Read(make([]byte, 4)) // the greeting has come
		require.NoError(t, err)
	}
	nettest.Wait(t, 30*time.Second, "the replica to have all that was written", func() bool {
		return tell(a, a.Addr(), "SELECT @@gtid_binlog_pos") == tell(b, b.Addr(), "SELECT @@gtid_slave_pos")
	})
	promoted := time.Now()
	tell(b, b.Addr(), "STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0")
	follow(a, b)
	took := time.Since(promoted)
	down := r.turns("c", "A", "standby", 1, promoted)
	up := r.turns("c", "B", "up", 1, promoted)
	t.Logf("promotion took %v; writing left the old primary after %v and reached the new one after %v", took, down, up)
	require.Less(t, down, weirtest.Bound(took+foundOut+500*time.Millisecond)+nettest.StalledSince(promoted))
	require.Less(t, up, weirtest.Bound(took+foundOut+500*time.Millisecond)+nettest.StalledSince(promoted))
	r.areCut(writers, "A")
	for i := range 5 {
		out, err := write(i)
		require.NoError(t, err, "%s", out)
		require.Equal(t, "2\n", out)
	}
	r.turns("r", "A", "up", 1, promoted)
	r.turns("r", "B", "standby", 1, promoted)
	require.Equal(t, "1\t1\n", tell(a, r.read, "SELECT @@server_id, @@read_only"))

	// A replica whose replication has stopped is used for reads only because it is the last one.
	unstable, well := len(r.changes("r", "A", "unstable")), len(r.changes("r", "A", "up"))
	tell(a, a.Addr(), "STOP SLAVE SQL_THREAD")
	r.turns("r", "A", "unstable", unstable+1, promoted)
	tell(a, a.Addr(), "START SLAVE")
	r.turns("r", "A", "up", well+1, promoted)
	require.NotContains(t, r.Output(), password)
}
