package failover_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// sqlUsers creates the users of the tests: "app" may not write to a read-only server, as "weir" of nettest may, and
// "monitor" has only the rights that the documentation gives to weir.
const sqlUsers = "CREATE DATABASE d; CREATE TABLE d.t (id BIGINT PRIMARY KEY, port INT) ENGINE=InnoDB; " +
	"CREATE USER app@'%' IDENTIFIED BY 'secret'; GRANT SELECT, INSERT ON d.* TO app@'%'; " +
	"CREATE USER monitor@'%' IDENTIFIED BY 'secret'; GRANT REPLICA MONITOR ON *.* TO monitor@'%'"

// sqlWriters are clients that write one row after the other until they are closed.
type sqlWriters struct {
	weir   *weirtest.Weir
	db     *sql.DB
	pooled bool
	cancel context.CancelFunc
	wait   sync.WaitGroup
	next   *atomic.Int64

	mu       sync.Mutex
	writes   []sqlWrite   // acknowledged
	connects []sqlConnect // failures to connect and to log in
	failures []error      // failures of statements
	kills    []time.Time  // of servers
}

// sqlWrite is an acknowledged write.
type sqlWrite struct {
	id           int64
	port         string // of the server that has acknowledged it
	began, ended time.Time
}

// sqlConnect is a failure to connect.
type sqlConnect struct {
	began, ended time.Time
	err          error
}

// startSQLWriters starts n clients of the listener at addr. Without pooled, each write has a session of its own.
func startSQLWriters(t *testing.T, weir *weirtest.Weir, addr string, n int, pooled bool, next *atomic.Int64) *sqlWriters {
	t.Helper()
	_ = mysql.SetLogger(log.New(io.Discard, "", 0))
	db, err := sql.Open("mysql", "app:secret@tcp("+addr+")/d?interpolateParams=true&timeout=40s")
	require.NoError(t, err)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(0)
	if pooled {
		db.SetMaxIdleConns(n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &sqlWriters{weir: weir, db: db, pooled: pooled, cancel: cancel, next: next}
	for range n {
		w.wait.Go(func() { w.run(ctx) })
	}
	t.Cleanup(w.close)
	return w
}

// close ends the clients and waits for them.
func (w *sqlWriters) close() {
	w.cancel()
	w.wait.Wait()
	_ = w.db.Close()
}

func (w *sqlWriters) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.write(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// write writes one row. Only a statement that was sent can fail because its session was closed.
func (w *sqlWriters) write(ctx context.Context) {
	began := time.Now()
	conn, err := w.db.Conn(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.mu.Lock()
			w.connects = append(w.connects, sqlConnect{began, time.Now(), err})
			w.mu.Unlock()
		}
		return
	}
	defer conn.Close()
	one := sqlWrite{id: w.next.Add(1), began: time.Now()}
	err = conn.QueryRowContext(ctx, "INSERT INTO t (id, port) VALUES (?, @@port) RETURNING port", one.id).Scan(&one.port)
	one.ended = time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.writes = append(w.writes, one)
	case ctx.Err() == nil:
		w.failures = append(w.failures, err)
	}
}

// firstAfter waits for a write that the server has acknowledged and that began after a moment, and returns when it ended.
func (w *sqlWriters) firstAfter(t *testing.T, m *nettest.MariaDB, at time.Time) time.Time {
	t.Helper()
	var first time.Time
	nettest.Wait(t, 30*time.Second, "a write at "+m.Addr(), func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, one := range w.writes {
			if one.port == portOf(m) && one.ended.After(at) && (first.IsZero() || one.ended.Before(first)) {
				first = one.ended
			}
		}
		return !first.IsZero()
	})
	return first
}

// copy returns what has happened so far.
func (w *sqlWriters) copy() (writes []sqlWrite, connects []sqlConnect, failures []error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.writes), slices.Clone(w.connects), slices.Clone(w.failures)
}

// serverKilled records that a server was killed.
func (w *sqlWriters) serverKilled() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kills = append(w.kills, time.Now())
}

// failedConnects returns the clients that failed to connect, without those that were logging in when the primary changed, or when
// a server was killed: their sessions ended with all others at the old one.
func (w *sqlWriters) failedConnects() []sqlConnect {
	_, failed, _ := w.copy()
	w.mu.Lock()
	ends := slices.Clone(w.kills)
	w.mu.Unlock()
	for _, r := range w.weir.Records(func(r weirtest.Record) bool { return r.IsEvent("primary_change") }) {
		if at, err := time.Parse(time.RFC3339Nano, r.Text("time")); err == nil {
			ends = append(ends, at)
		}
	}
	return slices.DeleteFunc(failed, func(f sqlConnect) bool {
		return slices.ContainsFunc(ends, func(at time.Time) bool {
			margin := weirtest.Bound(50 * time.Millisecond) // between the end, its record and what the client notices of it
			return f.began.Before(at.Add(margin)) && f.ended.After(at.Add(-margin))
		})
	})
}

// requireConnects requires that no client has failed to connect.
func (w *sqlWriters) requireConnects(t *testing.T) {
	t.Helper()
	for _, f := range w.failedConnects() {
		t.Errorf("a client could not connect at %v: %v", f.began, f.err)
	}
}

// lost returns how many acknowledged writes a server does not have.
func (w *sqlWriters) lost(m *nettest.MariaDB) (n int) {
	have := map[string]bool{}
	for id := range strings.SplitSeq(m.SQL("SELECT id FROM d.t"), "\n") {
		have[id] = true
	}
	writes, _, _ := w.copy()
	for _, one := range writes {
		if !have[strconv.FormatInt(one.id, 10)] {
			n++
		}
	}
	return n
}

// sqlCounts count what has happened to clients.
type sqlCounts struct{ writes, failures, connects, logins int }

func countSQL(list ...*sqlWriters) (n sqlCounts) {
	for _, w := range list {
		writes, all, failures := w.copy()
		connects := len(w.failedConnects())
		n = sqlCounts{n.writes + len(writes), n.failures + len(failures), n.connects + connects, n.logins + len(all) - connects}
	}
	return n
}

// since returns the figures since an earlier count.
func (n sqlCounts) since(before sqlCounts) []any {
	return []any{"writes", n.writes - before.writes, "failed_statements", n.failures - before.failures, "failed_connections", n.connects - before.connects,
		"logins_cut", n.logins - before.logins}
}

// lateWrites returns how many acknowledged writes to a server began after a moment.
func lateWrites(m *nettest.MariaDB, at time.Time, list ...*sqlWriters) (n int) {
	for _, w := range list {
		writes, _, _ := w.copy()
		for _, one := range writes {
			if one.port == portOf(m) && one.began.After(at) {
				n++
			}
		}
	}
	return n
}

func portOf(m *nettest.MariaDB) string { return m.Addr()[strings.LastIndexByte(m.Addr(), ':')+1:] }

// sqlTopology returns the tables of a topology for cluster c.
func sqlTopology(kind string, interval time.Duration, more string) string {
	return fmt.Sprintf("[cluster.c.topology]\ntype = %q\nuser = \"monitor\"\npassword = \"secret\"\ninterval = %q\n%s\n", kind, interval, more)
}

// serveSQL is weirtest.Serve for a configuration with a topology, whose sessions with the servers stay open.
func serveSQL(t *testing.T, c weirtest.Config) (*weirtest.Weir, string) {
	t.Helper()
	w, addr := weirtest.Serve(t, c)
	w.Baseline = nil
	return w, addr
}
