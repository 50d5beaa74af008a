package l4

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// closeAll gives the loops an order to close all sessions of the servers, and returns it.
func (p *testPlane) closeAll(c *Closer, change func(*CloseOrder)) *CloseOrder {
	o := &CloseOrder{Reason: ReasonCutDrain, Closer: c}
	if change != nil {
		change(o)
	}
	plan := ClosePlan{}
	for _, s := range p.cluster.Snapshot(p.Now()).Levels[0].Servers {
		plan[p.cluster.Server(s.Name)] = []*CloseOrder{o}
	}
	p.SetClosePlan(plan)
	return o
}

// countingEcho answers requests of four bytes and counts them.
func countingEcho(requests *atomic.Int64) nettest.Handler {
	return func(_ context.Context, c *net.TCPConn) {
		b := make([]byte, 4)
		for {
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			requests.Add(1)
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}
}

// closeRace is what clients saw that sent requests while their sessions were closed.
type closeRace struct {
	answered, lost, reset atomic.Int64 // requests; reset are those of lost that ended with a reset
	late                  atomic.Int64 // requests that were lost because this test was too slow
	closed                atomic.Int64 // sessions
}

// hasEnded looks for the end of the connection without waiting, as pooled clients do immediately before they send a request
// (go-redis, go-sql-driver).
func hasEnded(c *net.TCPConn) (ended bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	if err := raw.Read(func(fd uintptr) bool {
		n, e := peekBytes(int32(fd), make([]byte, 1))
		ended = n == 0 && e != eagain
		return true
	}); err != nil {
		return true
	}
	return ended
}

// ask sends a request and reports whether the session is still open. A request that was sent is answered or lost, or late if it
// was sent after a time.
func (r *closeRace) ask(c *net.TCPConn, until time.Time) bool {
	b := []byte("ping")
	_, err := c.Write(b)
	late := time.Now().After(until)
	if err == nil {
		_, err = io.ReadFull(c, b)
	}
	if err == nil {
		r.answered.Add(1)
		return true
	}
	if late {
		r.late.Add(1)
		return false
	}
	r.lost.Add(1)
	if end := nettest.StreamEndOf(err); end == nettest.Reset || end != nettest.EOF && err != io.ErrUnexpectedEOF {
		r.reset.Add(1)
	}
	return false
}

// waitClose waits for the end of the session, and reports whether it has come.
func waitClose(c net.Conn, wait time.Duration) bool {
	c.SetReadDeadline(time.Now().Add(wait))
	defer c.SetReadDeadline(time.Time{})
	_, err := c.Read(make([]byte, 1))
	return nettest.StreamEndOf(err) != nettest.Timeout
}

// A request that the server has received is always answered: a request that crosses the close is not forwarded, and the
// client does not wait for nothing. Requests are sent at random moments around the close, without a look at the connection.
func TestGentleCloseAgainstRequest(t *testing.T) {
	var received atomic.Int64
	p := startPlane(t, nil, func(s *Settings) { s.Records = RecordNone }, nettest.Start(t, countingEcho(&received)).Addr())
	var race closeRace
	for range 6 {
		closer := &Closer{}
		closer.Configure(0, 0, time.Minute)
		var clients sync.WaitGroup
		var began atomic.Pointer[time.Time]
		never := time.Now().Add(time.Hour)
		began.Store(&never)
		for range 200 {
			c := nettest.Dial(t, p.addr)
			require.True(t, race.ask(c, never))
			clients.Go(func() {
				defer c.Close()
				time.Sleep(time.Duration(rand.IntN(15_000)) * time.Microsecond)
				if race.ask(c, began.Load().Add(15*time.Millisecond)) {
					waitClose(c, 10*time.Second)
				}
				race.closed.Add(1)
			})
		}
		now := time.Now()
		began.Store(&now)
		p.closeAll(closer, nil)
		clients.Wait()
		nettest.Wait(t, 5*time.Second, "all sessions to end", func() bool { return p.Sessions() == 0 })
		quiet, forced := closer.Closed(ReasonCutDrain)
		require.EqualValues(t, 200, quiet+forced)
		p.SetClosePlan(nil)
	}
	t.Logf("%d closes, %d of %d requests lost, %d of them with a reset", race.closed.Load(), race.lost.Load(), race.lost.Load()+race.answered.Load(), race.reset.Load())
	require.Equal(t, race.answered.Load(), received.Load(), "requests that the server has received are answered")
	require.Less(t, race.lost.Load(), race.closed.Load()/4)
}

// Clients that send requests at random, ten a second, lose almost none when sessions are closed after 100 ms of silence.
func TestQuietCloseLosesNoRequests(t *testing.T) {
	var received atomic.Int64
	p := startPlane(t, nil, func(s *Settings) { s.Records = RecordNone }, nettest.Start(t, countingEcho(&received)).Addr())
	closer := &Closer{}
	closer.Configure(0, 100*time.Millisecond, time.Minute)
	var race closeRace
	var clients sync.WaitGroup
	until := time.Now().Add(1500 * time.Millisecond)
	p.closeAll(closer, nil)
	for range 300 {
		clients.Go(func() {
			for time.Now().Before(until) {
				c, err := nettest.TryDial(p.addr)
				if err != nil {
					t.Error(err)
					return
				}
				for looked := time.Now(); !hasEnded(c) && race.ask(c, looked.Add(2*time.Millisecond)); looked = time.Now() {
					if waitClose(c, time.Duration(rand.ExpFloat64()*float64(100*time.Millisecond))) {
						break
					}
				}
				race.closed.Add(1)
				c.Close()
			}
		})
	}
	clients.Wait()
	p.SetClosePlan(nil)
	lost, all := race.lost.Load(), race.lost.Load()+race.answered.Load()
	t.Logf("%d closes, %d of %d requests lost, %d of them with a reset", race.closed.Load(), lost, all, race.reset.Load())
	require.Equal(t, race.answered.Load(), received.Load())
	require.LessOrEqual(t, lost, 5+all/1000)
}

// A session is not closed while a request is unanswered, a reply is unread, or a side has closed its direction; it is closed
// with a FIN on both sides once it is quiet.
func TestGentleCloseWaits(t *testing.T) {
	for name, c := range map[string]struct {
		server nettest.Handler
		client func(*testing.T, *net.TCPConn)
		up     uint64 // bytes that the session has relayed when what both sides have done has arrived
		down   uint64
	}{
		"for an answer": {nettest.Silent, func(t *testing.T, c *net.TCPConn) {
			_, err := c.Write([]byte("x"))
			require.NoError(t, err)
		}, 1, 0},
		"for a client that does not read": {nettest.Greet(string(make([]byte, 16<<20)), nettest.Silent), func(*testing.T, *net.TCPConn) {}, 0, 64 << 10},
		"for the other side's FIN": {func(ctx context.Context, c *net.TCPConn) { <-ctx.Done() }, func(t *testing.T, c *net.TCPConn) {
			require.NoError(t, c.CloseWrite())
		}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPlane(t, nil, nil, nettest.Start(t, c.server).Addr())
			closer := &Closer{}
			closer.Configure(0, 0, time.Minute)
			conn := nettest.Dial(t, p.addr)
			c.client(t, conn)
			nettest.Wait(t, 15*time.Second, "the session to relay", func() bool {
				l := p.List(1)
				return len(l) == 1 && l[0].Phase == PhaseRelay && uint64(l[0].BytesUp) >= c.up && uint64(l[0].BytesDown) >= c.down
			})
			for range 3 { // what the client has done arrives
				p.runOnLoops(func(*loop) {})
				time.Sleep(20 * time.Millisecond)
			}
			o := p.closeAll(closer, nil)
			time.Sleep(200 * time.Millisecond)
			require.Equal(t, 1, p.Sessions())
			o.Force.Store(true)
			r := p.ended()
			require.Equal(t, ReasonCutDrain, r.Reason)
			quiet, forced := closer.Closed(ReasonCutDrain)
			require.Equal(t, []uint64{0, 1}, []uint64{quiet, forced})
		})
	}
	t.Run("until both sides are quiet", func(t *testing.T) {
		var host nettest.Recorder
		host.Banner = "banner"
		p := startPlane(t, nil, nil, nettest.Start(t, host.Handle).Addr())
		closer := &Closer{}
		closer.Configure(0, 50*time.Millisecond, time.Minute)
		conn := nettest.Dial(t, p.addr)
		_, err := io.ReadFull(conn, make([]byte, 6))
		require.NoError(t, err)
		p.closeAll(closer, nil)
		_, end := nettest.ReadToEnd(conn, 5*time.Second)
		require.Equal(t, nettest.EOF, end)
		require.Equal(t, nettest.EOF, host.WaitEnd(t, 0, 5*time.Second).End)
		r := p.ended()
		require.Equal(t, Termination{PhaseRelay, ReasonCutDrain}, r.Termination)
	})
}

// Sessions end evenly at the pace of close_rate, over all loops together.
func TestClosePace(t *testing.T) {
	p := startPlane(t, nil, nil, nettest.Start(t, nettest.Greet("A", nettest.Echo)).Addr())
	for range 60 {
		_, err := io.ReadFull(nettest.Dial(t, p.addr), make([]byte, 1))
		require.NoError(t, err)
	}
	closer := &Closer{}
	closer.Configure(100, 0, time.Minute)
	began := time.Now()
	p.closeAll(closer, nil)
	for i := range 60 {
		<-p.records
		require.GreaterOrEqual(t, time.Since(began), time.Duration(i)*10*time.Millisecond-paceSlack, "session %d", i)
	}
}

// While more sessions exist than one visit covers, a visit is bounded, and each session is visited.
func TestCloseVisitsAreBounded(t *testing.T) {
	l := &loop{plane: &Plane{}}
	for i := range 3 * sweepVisits {
		l.sessions.all = append(l.sessions.all, &session{slot: uint32(i), phase: PhaseDial})
	}
	l.sweep.plan = ClosePlan{nil: nil}
	for i := range 6 {
		work := sweepWork
		l.closeOrdered(&work)
		require.Equal(t, (i%3+1)*sweepVisits, l.sweep.cursor)
	}
}

// The ages of sessions are spread evenly around max_session_age and depend on nothing but the id.
func TestAgeJitter(t *testing.T) {
	set := &Settings{MaxAge: 100 * time.Second, AgeJitter: 10}
	var ages []time.Duration
	for id := range 10_000 {
		s := &session{}
		s.set, s.id, s.startedAt = set, uint64(id)*2+1, time.Hour
		ages = append(ages, s.expiresAt()-time.Hour)
		require.Equal(t, s.expiresAt(), s.expiresAt())
	}
	slices.Sort(ages)
	require.InDelta(t, 90, ages[0].Seconds(), 0.1)
	require.InDelta(t, 95, ages[2500].Seconds(), 0.5)
	require.InDelta(t, 100, ages[5000].Seconds(), 0.5)
	require.InDelta(t, 110, ages[9999].Seconds(), 0.1)
}

// A session reaches its maximum age whatever other timers it has, and waits for its turn. Without a quiet moment it is reset
// after the deadline.
func TestMaxAge(t *testing.T) {
	for name, adjust := range map[string]func(*Settings){
		"alone":              func(*Settings) {},
		"idle timeout":       func(s *Settings) { s.ClientIdle, s.ServerIdle = time.Hour, time.Hour },
		"user timeout":       func(s *Settings) { s.UserTimeout = time.Minute },
		"idle timeout first": func(s *Settings) { s.ClientIdle = 3 * time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			closer := &Closer{}
			closer.Configure(0, 0, 5*time.Second)
			p := startPlane(t, newTestClock(), func(s *Settings) {
				s.MaxAge, s.Closer = 10*time.Second, closer
				adjust(s)
			}, nettest.Start(t, nettest.Silent).Addr())
			conn := nettest.Dial(t, p.addr)
			_, err := conn.Write([]byte("x"))
			require.NoError(t, err)
			nettest.Wait(t, 5*time.Second, "the byte to be relayed", func() bool { l := p.List(1); return len(l) == 1 && l[0].BytesUp == 1 })
			for range 11 {
				p.advance(time.Second)
			}
			if name == "idle timeout first" {
				require.Equal(t, ReasonClientIdle, p.ended().Reason)
				require.Zero(t, closer.Expired())
				return
			}
			require.Equal(t, 1, closer.Expired())
			p.advance(3 * time.Second)
			require.Equal(t, 1, p.Sessions(), "it waits for a quiet moment")
			p.advance(2 * time.Second)
			nettest.Wait(t, 5*time.Second, "the deadline", func() bool { p.advance(20 * time.Millisecond); return len(p.records) > 0 })
			require.Equal(t, ReasonCutAge, p.ended().Reason)
			nettest.Wait(t, 5*time.Second, "the list to be empty", func() bool { p.advance(20 * time.Millisecond); return closer.Expired() == 0 })
		})
	}
}
