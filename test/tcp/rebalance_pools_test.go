package tcp_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// pooledClients are the clients of a pool that keeps its sessions open.
type pooledClients struct {
	sessions int                         // that the pool keeps
	fill     func(t *testing.T)          // opens them
	request  func(context.Context) error // sends one request
	workers  int
	pause    time.Duration // the mean between two requests of a worker
}

// bursts are when a pool is busy: a while after each other, and often enough to open what a rebalance has closed while it
// waits for that, however slow the machine is.
type bursts struct{ next atomic.Int64 }

// begin reports whether it is time for a burst, and that none is going on. end must follow.
func (b *bursts) begin() bool {
	next := b.next.Load()
	return time.Now().UnixNano() >= next && b.next.CompareAndSwap(next, math.MaxInt64)
}

func (b *bursts) end() { b.next.Store(time.Now().Add(time.Second / 2).UnixNano()) }

// runRebalance opens the sessions of pools over servers, adds a server under load, and checks that the largest share comes
// within 10 % of fair in 30 s, that hardly more sessions are closed than needed, and that almost no request fails.
func runRebalance(t *testing.T, w *weirtest.Weir, api weirtest.API, clients pooledClients, addServer func()) {
	clients.fill(t)
	servers := func() (n []int, total int) {
		for _, s := range api.Get("clusters", 0, "levels", 0, "servers").([]any) {
			sessions := int(s.(map[string]any)["sessions"].(float64))
			n, total = append(n, sessions), total+sessions
		}
		return n, total
	}
	nettest.Wait(t, 60*time.Second, "all sessions of the pools", func() bool { _, total := servers(); return total >= clients.sessions })
	before, total := servers()

	var requests, failed atomic.Int64
	var firstError atomic.Pointer[error]
	var work sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer work.Wait()
	defer stop()
	for range clients.workers {
		work.Go(func() {
			for ctx.Err() == nil {
				err := clients.request(context.WithoutCancel(ctx))
				requests.Add(1)
				if err != nil {
					failed.Add(1)
					firstError.CompareAndSwap(nil, &err)
				}
				time.Sleep(time.Duration(rand.ExpFloat64() * float64(clients.pause)))
			}
		})
	}
	nettest.Wait(t, time.Minute, "load", func() bool { return requests.Load() > 100 })
	began := time.Now()
	addServer()
	w.WaitEvents("rebalance_begin", 1)
	largest := 0.0
	nettest.Wait(t, 60*time.Second, "the largest share to be within 10 % of fair", func() bool {
		n, now := servers()
		largest = 0
		for _, sessions := range n {
			largest = max(largest, float64(sessions)*float64(len(n))/float64(now))
		}
		return largest <= 1.1 && now >= total*99/100
	})
	took := nettest.Elapsed(began)
	nettest.Wait(t, 40*time.Second, "the end of the rebalance", func() bool { return len(w.Events("rebalance_end")) == 1 })
	atLeast := requests.Load() + int64(weirtest.Scaled(1000)) // nothing fails later either
	nettest.Wait(t, 60*time.Second, "more requests", func() bool { return requests.Load() >= atLeast })
	stop()
	work.Wait()

	closed := len(w.Records(func(r weirtest.Record) bool { return r.Termination() == "relay cut_rebalance" }))
	needed := 0
	for _, sessions := range before {
		needed += max(0, sessions-(total+len(before))/(len(before)+1))
	}
	after, _ := servers()
	t.Logf("%v → %v sessions; %.2f of fair after %v; %d closed, %d needed for equal shares; %d of %d requests failed",
		before, after, largest, took.Round(10*time.Millisecond), closed, needed, failed.Load(), requests.Load())
	require.Less(t, took, 30*time.Second)
	require.LessOrEqual(t, float64(closed), 1.05*float64(needed)+1)
	if err := firstError.Load(); err != nil {
		t.Logf("the first error: %v", *err)
	}
	require.LessOrEqual(t, failed.Load(), 1+requests.Load()/10_000)
}

// rebalanceConfig is a cluster that rebalances its sessions.
func rebalanceConfig(t *testing.T, addrs []string) weirtest.Config {
	c := weirtest.Config{Listen: nettest.Reserve(t), Cluster: "rebalance = \"auto\"\nclose_quiet = \"50ms\"\nclose_rate = 100", Levels: [][]string{{}}}
	c.Levels[0] = append(c.Levels[0], addrs...)
	return c
}

// startRebalanced runs weir in front of all servers but the last, and returns a function that adds that one.
func startRebalanced(t *testing.T, addrs []string) (*weirtest.Weir, string, weirtest.API, func()) {
	config := rebalanceConfig(t, addrs[:len(addrs)-1])
	api := weirtest.NewAPI(t)
	w := weirtest.Start(t, api.AddTo(config.String()))
	return w, config.Listen, api, func() {
		config.Levels[0] = addrs
		w.Reload(api.AddTo(config.String()))
	}
}

// Pools of go-redis, which do not retry requests, at real Redis servers.
func TestRebalanceRedisPools(t *testing.T) {
	t.Parallel()
	var addrs []string
	for range 4 {
		addrs = append(addrs, nettest.StartRedis(t, "--maxclients", "4000").Addr())
	}
	w, addr, api, addServer := startRebalanced(t, addrs)
	size := weirtest.Scaled(100)
	var pools []*redis.Client
	for _, fifo := range []bool{true, false} {
		pool := redis.NewClient(&redis.Options{
			Addr: addr, PoolSize: size, MinIdleConns: size, MaxIdleConns: size, PoolFIFO: fifo, MaxRetries: -1,
			DialTimeout: 20 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second, PoolTimeout: 20 * time.Second, Protocol: 2, DisableIdentity: true,
		})
		t.Cleanup(func() { pool.Close() })
		pools = append(pools, pool)
	}
	var turn atomic.Int64
	var busy bursts
	pingAll := func(ctx context.Context, pool *redis.Client) error {
		var work sync.WaitGroup
		errs := make([]error, size)
		for i := range size {
			work.Go(func() { errs[i] = pool.Ping(ctx).Err() })
		}
		work.Wait()
		return errors.Join(errs...)
	}
	runRebalance(t, w, api, pooledClients{
		sessions: 2 * size, workers: 16, pause: 4 * time.Millisecond,
		fill: func(t *testing.T) {
			for _, pool := range pools {
				require.NoError(t, pool.Ping(t.Context()).Err())
			}
		},
		request: func(ctx context.Context) error {
			if busy.begin() { // a pool that prefers its last connections finds those that were closed only when it is busy
				defer busy.end()
				return pingAll(ctx, pools[1])
			}
			return pools[turn.Add(1)%2].Set(ctx, "key", "value", 0).Err()
		},
	}, addServer)
}

// A pool of database/sql with go-sql-driver at real MariaDB servers.
func TestRebalanceMariaDBPool(t *testing.T) {
	t.Parallel()
	var addrs []string
	for range 3 {
		addrs = append(addrs, nettest.StartMariaDB(t, "--max-connections=2000", "--thread-stack=192K").Addr())
	}
	w, addr, api, addServer := startRebalanced(t, addrs)
	size := weirtest.Scaled(60)
	options, err := mysql.ParseDSN(fmt.Sprintf("weir:secret@tcp(%s)/?timeout=20s", addr))
	require.NoError(t, err)
	options.Logger = &mysql.NopLogger{} // it logs connections that have ended while idle
	connector, err := mysql.NewConnector(options)
	require.NoError(t, err)
	pool := sql.OpenDB(connector)
	t.Cleanup(func() { pool.Close() })
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size)
	fill := func(ctx context.Context) error {
		var open sync.WaitGroup
		errs := make([]error, size)
		conns := make([]*sql.Conn, size)
		for i := range size {
			open.Go(func() { conns[i], errs[i] = pool.Conn(ctx) })
		}
		open.Wait()
		for i := range size {
			if errs[i] != nil {
				return errs[i]
			}
			conns[i].Close()
		}
		return nil
	}
	var busy bursts
	runRebalance(t, w, api, pooledClients{
		sessions: size, workers: 8, pause: 8 * time.Millisecond,
		fill: func(t *testing.T) { require.NoError(t, fill(t.Context())) },
		request: func(ctx context.Context) error {
			if busy.begin() { // a burst uses the whole pool, and opens what was closed
				defer busy.end()
				return fill(ctx)
			}
			var n int
			return pool.QueryRowContext(ctx, "SELECT 1").Scan(&n)
		},
	}, addServer)
}
