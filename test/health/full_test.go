// Servers without room for another connection, against real servers.

package health_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// fullCheck notices a full server, and its room, quickly, and leaves a busy machine time to respond.
const fullCheck = "[[cluster.c.check]]\ninterval = \"1500ms\"\ntimeout = \"1500ms\"\nfast_interval = \"200ms\"\ndown_interval = \"200ms\"\nrise = 1\nfall = 2\n"

// fullCase is a server A that can be filled, and a server B.
type fullCase struct {
	check      string
	a, b       string
	fill, free func()
	open       func(addr string) (use func() error, end func()) // a session that a client uses
}

// run verifies that a full server is no failed server: it gets no new sessions, keeps those it has although on_down = "close",
// and is not failed over for. It serves again when it has room.
func (f fullCase) run(t *testing.T) {
	t.Helper()
	listen := nettest.Reserve(t)
	api := weirtest.NewAPI(t)
	w := weirtest.Start(t, api.AddTo(weirtest.Config{
		Listen: listen, Cluster: "on_down = \"close\"\nprotected = false", Checks: fullCheck + f.check,
		Levels: weirtest.OneLevel(f.a+" name=A", f.b+" name=B"),
	}.String()))
	number := func(server, key string) int { return int(api.Server(server)[key].(float64)) }
	state := func(server string) string { return fmt.Sprint(api.Server(server)["state"]) }
	nettest.Wait(t, 30*time.Second, "both servers to be checked", func() bool {
		for _, server := range []string{"A", "B"} {
			passed := api.Metric(`weir_check_results_total{check="` + f.id() + `",cluster="c",result="pass",server="` + server + `"}`)
			if passed == "" || passed == "0" || state(server) != "up" {
				return false
			}
		}
		return true
	})
	var held []func() error
	for range 4 {
		use, end := f.open(listen)
		defer end()
		require.NoError(t, use())
		held = append(held, use)
	}
	require.Equal(t, []int{2, 2}, []int{number("A", "sessions"), number("B", "sessions")})

	f.fill()
	w.WaitRecord(30*time.Second, "the server to be full", func(r weirtest.Record) bool {
		return r.IsEvent("server_state") && r.Text("server") == "A" && r.Text("to") == "full"
	})
	before := number("A", "sessions_total")
	for range 6 {
		use, end := f.open(listen)
		require.NoError(t, use())
		end()
	}
	require.Equal(t, before, number("A", "sessions_total"), "a full server gets no new sessions")
	for _, use := range held {
		require.NoError(t, use(), "sessions stay")
	}
	require.Equal(t, []int{2, 2}, []int{number("A", "sessions"), number("B", "sessions")})
	require.Equal(t, []string{"full", "up"}, []string{state("A"), state("B")})
	require.Empty(t, w.Events("server_down", "level_change", "cluster_empty"), "nothing has failed")
	require.Contains(t, fmt.Sprint(api.Get("problems")), "A: full")
	require.Equal(t, "1", api.Metric(`weir_server_state{cluster="c",server="A",state="full"}`))

	f.free()
	nettest.Wait(t, 30*time.Second, "the server to have room", func() bool { return state("A") == "up" })
	nettest.Wait(t, 30*time.Second, "new sessions for it", func() bool {
		use, end := f.open(listen)
		defer end()
		return use() == nil && number("A", "sessions_total") > before
	})
	for _, use := range held {
		require.NoError(t, use())
	}
}

// id returns the id of the check.
func (f fullCase) id() (id string) {
	_, _ = fmt.Sscanf(f.check, "type = %q", &id)
	return id
}

func TestFullRedisGetsNoSessions(t *testing.T) {
	t.Parallel()
	a, b := nettest.StartRedis(t), nettest.StartRedis(t)
	operator := nettest.Dial(t, a.Addr()) // connected before the server is full
	limit := func(n int) func() {
		return func() {
			require.NoError(t, weirtest.WriteText(operator, fmt.Sprintf("CONFIG SET maxclients %d\r\n", n)))
			operator.SetReadDeadline(time.Now().Add(20 * time.Second))
			reply := make([]byte, 64)
			size, err := operator.Read(reply)
			require.NoError(t, err)
			require.Equal(t, "+OK\r\n", string(reply[:size]))
		}
	}
	fullCase{
		check: "type = \"redis\"\n", a: a.Addr(), b: b.Addr(), fill: limit(3), free: limit(1000), // the operator and two sessions
		open: func(addr string) (func() error, func()) {
			c := nettest.Dial(t, addr)
			return func() error { return weirtest.RedisPings(c, 1) }, func() { c.Close() }
		},
	}.run(t)
}

func TestFullMariaDBGetsNoSessions(t *testing.T) {
	t.Parallel()
	a, b := nettest.StartMariaDB(t), nettest.StartMariaDB(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	login := func(addr string) (c *sql.Conn, logout func(), err error) {
		db, err := sql.Open("mysql", "weir:secret@tcp("+addr+")/")
		require.NoError(t, err)
		if c, err = db.Conn(ctx); err != nil {
			db.Close()
			return nil, nil, err
		}
		return c, func() { c.Close(); db.Close() }, nil
	}
	var fillers []func()
	fullCase{
		check: "type = \"mysql\"\nuser = \"weir\"\npassword = \"secret\"\n", a: a.Addr(), b: b.Addr(),
		fill: func() {
			operator, logout, err := login(a.Addr())
			require.NoError(t, err)
			fillers = append(fillers, logout)
			_, err = operator.ExecContext(ctx, "SET GLOBAL max_connections = 10") // the smallest
			require.NoError(t, err)
			for {
				_, logout, err := login(a.Addr())
				if err != nil {
					require.ErrorContains(t, err, "Error 1040")
					break
				}
				fillers = append(fillers, logout)
			}
		},
		free: func() {
			for _, logout := range fillers {
				logout()
			}
		},
		open: func(addr string) (func() error, func()) {
			c, logout, err := login(addr)
			require.NoError(t, err)
			return func() error { return c.PingContext(ctx) }, logout
		},
	}.run(t)
}
