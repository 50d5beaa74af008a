// PostgreSQL: a primary and a standby by the roles that their checks find, and Patroni by its API.

package health_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Writing follows a planned switch-over and the death of a primary; reading stays with the standby.
func TestPostgreSQLRoles(t *testing.T) {
	t.Parallel()
	const password = "hunter2-of-roles"
	a := nettest.StartPostgreSQL(t)
	a.Query(a.Addr(), "CREATE USER monitor PASSWORD '"+password+"'", "CREATE TABLE item (id int)")
	b := a.StartStandby()
	port := func(p *nettest.PostgreSQL) string { _, port, _ := net.SplitHostPort(p.Addr()); return port }
	r := startRoles(t, "protected = false", fmt.Sprintf("type = \"pgsql\"\nuser = \"monitor\"\ndatabase = \"postgres\"\npassword = %q\n", password), a.Addr(), b.Addr())
	r.turns("c", "B", "standby", 1, time.Time{})
	r.turns("r", "A", "standby", 1, time.Time{})
	// The servers in levels of their own, and clients that wait.
	single, listen := weirtest.Serve(t, weirtest.Config{
		Cluster: "protected = false\non_down = \"close\"\nfailback = \"manual\"\nhold_timeout = \"30s\"",
		Levels:  [][]string{{b.Addr() + " name=B"}, {a.Addr() + " name=A"}},
		Checks:  "[[cluster.c.check]]\n" + rolePace + "type = \"pgsql\"\nuser = \"monitor\"\ndatabase = \"postgres\"\npassword = \"" + password + "\"\nrole = \"primary\"\n",
	})
	insert := func(id int) string {
		return a.Query(r.write, fmt.Sprintf("INSERT INTO item VALUES (%d)", id), "SELECT inet_server_port()")
	}
	require.Equal(t, port(a), insert(1))
	require.Equal(t, port(b)+"\nt", a.Query(r.read, "SELECT inet_server_port()", "SELECT pg_is_in_recovery()"))

	// A planned switch-over: the primary rejects writes, weir closes its sessions, the standby has everything.
	processes := len(nettest.Process(a.PID()).Children())
	writers := heldSessions(t, r.write, 10)
	nettest.Wait(t, 20*time.Second, "the writers to reach the server", func() bool {
		return len(nettest.Process(a.PID()).Children()) >= processes+10
	})
	planned := time.Now()
	a.Query(a.Addr(), "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
	down := r.turns("c", "A", "standby", 1, planned)
	r.areCut(writers, "A")
	nettest.Wait(t, 30*time.Second, "the standby to have everything", func() bool {
		return b.Query(b.Addr(), "SELECT pg_last_wal_replay_lsn() >= '"+a.Query(a.Addr(), "SELECT pg_current_wal_lsn()")+"'") == "t"
	})
	a.Stop()
	promoted := time.Now()
	b.Promote()
	took := time.Since(promoted)
	up := r.turns("c", "B", "up", 1, promoted)
	t.Logf("the old primary lost its sessions after %v; the new one was promoted in %v and up after %v", down, took, up)
	require.Less(t, down, weirtest.Bound(foundOut+500*time.Millisecond)+nettest.StalledSince(planned))
	require.Less(t, up, weirtest.Bound(took+foundOut+500*time.Millisecond)+nettest.StalledSince(promoted))
	require.Equal(t, port(b), insert(2))
	a.Follow(b)
	a.Up("default_transaction_read_only=off") // the copy has no more setting of it than the new primary
	r.turns("r", "A", "up", 1, promoted)
	require.Equal(t, port(a), a.Query(r.read, "SELECT inet_server_port()"))

	// The primary dies.
	nettest.Wait(t, 30*time.Second, "the standby to stream", func() bool {
		return b.Query(b.Addr(), "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1"
	})
	require.Equal(t, port(b), insert(3))
	nettest.Wait(t, 30*time.Second, "the standby to have everything", func() bool { return a.Query(a.Addr(), "SELECT count(*) FROM item") == "3" })
	killed := time.Now()
	b.Kill()
	r.turns("c", "B", "down", 1, killed)
	held := a.Client(listen, "--command=SELECT inet_server_port()")
	var reply strings.Builder
	held.Stdout = &reply
	require.NoError(t, held.Start())
	c, err := nettest.TryDial(r.write)
	if err == nil { // no server takes writes
		_, end := nettest.ReadToEnd(c, 20*time.Second)
		require.Equal(t, nettest.Reset, end)
		c.Close()
	}
	require.Equal(t, "3", a.Query(r.read, "SELECT count(*) FROM item"))
	a.Promote()
	up = r.turns("c", "A", "up", 1, killed)
	t.Logf("the new primary was up %v after the old one was killed", up)
	require.Equal(t, port(a), insert(4))
	require.Equal(t, "4", a.Query(r.write, "SELECT count(*) FROM item"))
	require.NoError(t, held.Wait(), "a client that connected while no server took writes")
	require.Equal(t, port(a)+"\n", reply.String())

	// The dead primary returns as it was: a second primary. Levels with one server each and a manual failback use one.
	b.Up()
	r.turns("c", "B", "up", 2, killed)
	single.WaitRecord(30*time.Second, "the old primary to be up", func(e weirtest.Record) bool {
		return e.IsEvent("server_up") && e.Text("server") == "B" && e.Text("from") == "down"
	})
	for range 5 {
		require.Equal(t, port(a), a.Query(listen, "SELECT inet_server_port()"))
	}
	require.NotContains(t, r.Output(), password)
}

// pgWriter inserts numbers through weir over one connection, which it opens again when it fails, and records what the
// server has confirmed.
type pgWriter struct {
	dsn       string
	mu        sync.Mutex
	confirmed []int
	refused   int           // connections that failed
	last      time.Time     // of the last confirmation
	gap       time.Duration // the longest time without a confirmation
	gapEnd    time.Time
}

// failures returns how many connections have failed.
func (w *pgWriter) failures() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refused
}

func (w *pgWriter) run(ctx context.Context) {
	var c *pgconn.PgConn
	for n := 1; ctx.Err() == nil; n++ {
		err := func() (err error) {
			one, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			if c == nil {
				if c, err = pgconn.Connect(one, w.dsn); err != nil {
					c = nil
					w.mu.Lock()
					w.refused++
					w.mu.Unlock()
					return err
				}
			}
			return c.Exec(one, fmt.Sprintf("INSERT INTO item VALUES (%d)", n)).Close()
		}()
		w.mu.Lock()
		now := time.Now()
		switch {
		case err == nil:
			w.confirmed = append(w.confirmed, n)
			if gap := now.Sub(w.last); gap > w.gap && !w.last.IsZero() {
				w.gap, w.gapEnd = gap, now
			}
			w.last = now
		case c != nil:
			c.Close(ctx)
			c = nil
		}
		w.mu.Unlock()
		if err != nil {
			time.Sleep(5 * time.Millisecond) // as a client that connects again
		}
	}
	if c != nil {
		c.Close(context.Background())
	}
}

// takeGap returns the longest time without a confirmed write since the last call, and when it ended.
func (w *pgWriter) takeGap() (gap time.Duration, end time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gap, w.gap = w.gap, 0
	return gap, w.gapEnd
}

// wait waits for n more confirmed writes.
func (w *pgWriter) wait(t *testing.T, n int) {
	t.Helper()
	before := w.count()
	nettest.Wait(t, 60*time.Second, "writes", func() bool { return w.count() >= before+n })
}

func (w *pgWriter) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.confirmed)
}

// Clients that write through weir reach the leader that Patroni has chosen, after a switch-over and after the death of the
// leader, and lose nothing that the server has confirmed.
func TestPatroniLeaderChanges(t *testing.T) {
	t.Parallel()
	p := nettest.StartPatroni(t, 2, 5*time.Second)
	servers := p.Servers()
	write, read := nettest.Reserve(t), nettest.Reserve(t)
	check := func(path string) string {
		return "type = \"http\"\nport = " + p.APIPort() + "\npath = \"" + path + "\"\ninterval = \"1s\"\ntimeout = \"1s\"\nfall = 1\nrise = 1\n"
	}
	list := "servers = [\"" + strings.Join(servers, "\", \"") + "\"]\n"
	api := weirtest.NewAPI(t)
	weirtest.Start(t, api.AddTo(weirtest.Config{
		Listen: write, Cluster: "protected = false\non_down = \"close\"\nhold_timeout = \"30s\"", Levels: [][]string{servers}, Checks: "[[cluster.c.check]]\n" + check("/primary"),
		More: "[[listener]]\nname = \"r\"\naddress = \"" + read + "\"\ncluster = \"r\"\n[cluster.r]\n" +
			"[[cluster.r.level]]\n" + list + "[[cluster.r.check]]\n" + check("/replica"),
	}.String()))
	_, port, _ := net.SplitHostPort(servers[0])
	host := func(addr string) string {
		h, _, _ := net.SplitHostPort(addr)
		return h
	}
	query := func(addr, statement string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		c, err := pgconn.Connect(ctx, patroniDSN(addr))
		if err != nil {
			return "", err
		}
		defer c.Close(ctx)
		results, err := c.Exec(ctx, statement).ReadAll()
		if err != nil {
			return "", err
		}
		return string(results[0].Rows[0][0]), nil
	}
	leads := func(addr, host string) {
		t.Helper()
		nettest.Wait(t, 60*time.Second, "weir to use "+host, func() bool {
			got, err := query(addr, "SELECT host(inet_server_addr())")
			return err == nil && got == host
		})
	}
	first := p.Leader()
	leads(write, first.Host)
	require.Equal(t, host(servers[0]), first.Host)
	leads(read, host(servers[1]))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	create, err := pgconn.Connect(ctx, patroniDSN(write))
	require.NoError(t, err)
	require.NoError(t, create.Exec(ctx, "CREATE TABLE item (id int)").Close())
	create.Close(ctx)

	writer := &pgWriter{dsn: patroniDSN(write)}
	var wait sync.WaitGroup
	wait.Go(func() { writer.run(ctx) })
	writer.wait(t, 100)
	writer.takeGap()
	for i := range weirtest.Scaled(1) {
		old := p.Leader()
		second := p.Other(old)
		chosen := becomesLeader(p, second)
		before := writer.failures()
		server := "c/" + net.JoinHostPort(old.Host, port)
		api.MustRunCommand("server", server, "drain") // new sessions are held: the old leader answers 57P03 while it stops
		require.Equal(t, second, p.Switchover())
		leads(write, second.Host)
		writer.wait(t, 20)
		require.Equal(t, before, writer.failures(), "connections that failed during a planned switch-over")
		api.MustRunCommand("server", server, "reset")
		gap, end := writer.takeGap()
		t.Logf("switch-over %d to %s: %v without a confirmed write; the first %v after Patroni's API had the new leader", i+1, second.Name,
			gap.Round(time.Millisecond), end.Sub(<-chosen).Round(time.Millisecond))
		nettest.Wait(t, 60*time.Second, "the old leader to replicate", func() bool { return p.Is(old, "sync") })

		chosen = becomesLeader(p, old)
		p.Kill(second)
		leads(write, old.Host)
		writer.wait(t, 20)
		gap, end = writer.takeGap()
		since := end.Sub(<-chosen)
		t.Logf("death %d of %s: %v without a confirmed write; the first %v after Patroni's API had the new leader", i+1, second.Name,
			gap.Round(time.Millisecond), since.Round(time.Millisecond))
		require.Less(t, since, weirtest.Bound(1500*time.Millisecond), "an interval, a check and a connection")
		if i+1 < weirtest.Scaled(1) {
			p.Up(second)
			nettest.Wait(t, 60*time.Second, "the dead leader to replicate", func() bool { return p.Is(second, "sync") })
		}
	}
	cancel()
	wait.Wait()
	t.Logf("%d confirmed writes, %d connections failed", len(writer.confirmed), writer.refused)
	missing, err := query(write, "SELECT count(*) FROM (SELECT unnest(ARRAY"+strings.ReplaceAll(fmt.Sprint(writer.confirmed), " ", ",")+") EXCEPT SELECT id FROM item) m")
	require.NoError(t, err)
	require.Equal(t, "0", missing, "confirmed writes are lost")
}

// becomesLeader sends the moment at which the API of a node first confirms that it is the leader.
func becomesLeader(p *nettest.Patroni, n *nettest.PatroniNode) <-chan time.Time {
	at := make(chan time.Time, 1)
	go func() {
		for end := time.Now().Add(time.Minute); !p.Is(n, "primary") && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
		at <- time.Now()
	}()
	return at
}

func patroniDSN(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf("host=%s port=%s user=weir password=secret dbname=postgres sslmode=disable", host, port)
}
