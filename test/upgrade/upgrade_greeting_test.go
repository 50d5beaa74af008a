package upgrade_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

const (
	mysqlHandshake = "\x09\x00\x00\x00\x0a11.4.2\x00\x07"
	mysqlRefusal   = "\x07\x00\x00\x00\xff\x10\x04full"
	redisRefusal   = "-ERR max number of clients reached\r\n"
)

// An upgrade while the first bytes of a server are awaited: the session moves or ends in the old process, the client gets one
// greeting, and no byte that it has sent reaches a server twice.
func TestUpgradeDuringGreeting(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		greeting string
		before   string // what A has sent before the upgrade
		after    string // and sends after it; then it closes the connection if it refuses
		served   string // the server that serves the client
		want     string // what the client gets before its own bytes
	}{
		"mysql, nothing":            {"mysql", "", mysqlHandshake, "A", mysqlHandshake},
		"mysql, part of a greeting": {"mysql", mysqlHandshake[:5], mysqlHandshake[5:], "A", mysqlHandshake},
		"mysql, part of a refusal":  {"mysql", mysqlRefusal[:6], mysqlRefusal[6:], "B", mysqlHandshake},
		"mysql, a late refusal":     {"mysql", "", mysqlRefusal, "B", mysqlHandshake},
		"redis, part of a refusal":  {"redis", redisRefusal[:10], redisRefusal[10:], "B", ""},
		"redis, a late refusal":     {"redis", "", redisRefusal, "B", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			reached := make(chan struct{})
			refuses := test.served == "B"
			a := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
				io.WriteString(c, test.before)
				close(reached)
				<-release
				io.WriteString(c, test.after)
				if refuses {
					if test.greeting == "redis" {
						io.ReadFull(c, make([]byte, 5)) // so that its close is no reset, which may overtake the refusal
					}
					return
				}
				nettest.Echo(ctx, c)
			})
			b := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
				if refuses {
					io.WriteString(c, test.want)
				}
				nettest.Echo(ctx, c)
			})
			l := weirtest.Config{
				Listen: nettest.Reserve(t), Cluster: fmt.Sprintf("greeting = %q\ngreeting_timeout = \"10s\"\nbalance = \"first\"", test.greeting),
				Levels: weirtest.OneLevel(a.Addr()+" name=A", b.Addr()+" name=B"),
			}
			w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, l.String())
			c := nettest.Dial(t, l.Listen)
			require.NoError(t, weirtest.WriteText(c, "early"))
			<-reached
			r := w.SignalUpgrade("upgrade")
			close(release)
			require.NoError(t, c.CloseWrite())
			data, end := nettest.ReadToEnd(c, 10*time.Second)
			require.Equal(t, test.want+"early", string(data))
			require.Equal(t, nettest.EOF, end)
			w.WaitSuccessor(r.Int("pid"))
			record := w.SessionRecord(c)
			require.Equal(t, test.served, record.Text("server"))
			require.Equal(t, "relay client_closed", record.Termination())
			require.Equal(t, map[string]int{"A": 1, "B": 2}[test.served], record.Int("attempts"))
			require.Empty(t, w.Warnings())
		})
	}
}

// A session that waits for the first byte of a Redis server moves when the time for refusals is over, and an old process does not
// wait for it longer.
func TestUpgradeMovesSilentRedisSession(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Listen: nettest.Reserve(t), Cluster: "greeting = \"redis\"", Levels: weirtest.OneLevel(host.Addr() + " name=A")}
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, l.String())
	c := nettest.Dial(t, l.Listen)
	nettest.Wait(t, 5*time.Second, "the connection to the server", func() bool { return host.Accepted() == 1 })
	w.Upgrade()
	require.NoError(t, weirtest.PingPong(c))
	c.Close()
	require.Equal(t, "relay client_closed", w.SessionRecord(c).Termination())
	require.Empty(t, w.Warnings())
}

// A session that all servers have refused is held, moves, and gets the last refusal when the hold is over.
func TestUpgradeKeepsRefusalOfHeldSession(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, func(_ context.Context, c *net.TCPConn) { io.WriteString(c, mysqlRefusal) })
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Cluster: "greeting = \"mysql\"\nhold_timeout = \"4s\"", Levels: weirtest.OneLevel(host.Addr() + " name=A"),
	}
	a := weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, a.AddTo(l.String()))
	c := nettest.Dial(t, l.Listen)
	a.WaitPhase(c, "hold")
	host.Down() // the new process is refused by the kernel
	w.Upgrade()
	data, end := nettest.ReadToEnd(c, 10*time.Second)
	require.Equal(t, mysqlRefusal, string(data))
	require.Equal(t, nettest.EOF, end)
	require.Equal(t, "hold hold_timeout", w.SessionRecord(c).Termination())
}
