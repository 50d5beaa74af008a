package l4

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// Whatever is asked for and when, a direction never gets more than its burst and its rate, and a direction that always asks
// gets all of it, but for a step.
func TestRateLimitIsExact(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, rate := range []int64{1, 100, 5_000, 51_200, 655_360, 1 << 20, 1e9, 1 << 40} {
		r := rateLimit{rate: rate}
		require.GreaterOrEqual(t, r.burst(), r.step())
		start := time.Hour
		now, took := start, int64(0)
		for range 10_000 {
			if level := r.level(now); level >= r.step() {
				require.LessOrEqual(t, level, r.burst())
				n := level
				if random.IntN(2) == 0 {
					n = 1 + random.Int64N(level)
				}
				r.take(now, n)
				took += n
			} else {
				at := r.stepAt()
				require.Greater(t, at, now)
				require.LessOrEqual(t, at-now, time.Second+time.Microsecond)
				now = at
				require.GreaterOrEqual(t, r.level(now), r.step()-1)
				now++
			}
			allowed := float64(r.burst()) + (now-start).Seconds()*float64(rate)
			require.LessOrEqual(t, float64(took), allowed+2+allowed/1e6, "rate %d", rate)
		}
		for r.level(now) >= 1 {
			n := r.level(now)
			r.take(now, n)
			took += n
		}
		allowed := float64(r.burst()) + (now-start).Seconds()*float64(rate)
		require.GreaterOrEqual(t, float64(took), allowed-2-allowed/1e5, "rate %d", rate)
	}
}

// A process that takes a session over keeps the level, and no clock of the other makes it wait longer than an empty bucket.
func TestRateLimitIsAdopted(t *testing.T) {
	r, now := rateLimit{rate: 1000}, time.Hour
	r.take(now, minBurst-10)
	other := rateLimit{rate: 1000}
	other.adopt(now, r.full)
	require.InDelta(t, 10, other.level(now), 1)
	other.adopt(now, now+1000*time.Hour)
	require.InDelta(t, 0, other.level(now), 1)
	other.adopt(now, 0)
	require.EqualValues(t, minBurst, other.level(now))
	unlimited := rateLimit{}
	unlimited.adopt(now, now)
	require.Equal(t, rateLimit{}, unlimited)
}

// write sends n bytes of a pattern and keeps the connection open.
func write(n int64) nettest.Handler {
	return func(ctx context.Context, c *net.TCPConn) {
		io.Copy(c, io.LimitReader(nettest.Pattern(1), n))
		nettest.Silent(ctx, c)
	}
}

// relayed waits until exactly these numbers of bytes were relayed, and no more follow.
func (p *testPlane) relayed(up, down uint64) {
	p.t.Helper()
	counts := func() (n [2]uint64) {
		if list := p.List(1); len(list) == 1 {
			n = [2]uint64{list[0].BytesUp, list[0].BytesDown}
		}
		return n
	}
	nettest.Wait(p.t, 10*time.Second, "the bytes to be relayed", func() bool { n := counts(); return n[0] >= up && n[1] >= down })
	p.settle()
	require.Equal(p.t, [2]uint64{up, down}, counts())
}

func TestPacedRelay(t *testing.T) {
	const rate, burst = 10_000, minBurst
	limits := func(up, down int64) func(*Settings) {
		return func(s *Settings) { s.MaxRateUp, s.MaxRateDown = up, down }
	}
	t.Run("down", func(t *testing.T) {
		p := startPlane(t, newTestClock(), limits(0, rate), nettest.Start(t, write(200_000)).Addr())
		c := nettest.Dial(t, p.addr)
		go io.Copy(io.Discard, c)
		p.relayed(0, burst)
		p.advance(100 * time.Millisecond) // less than a step
		p.relayed(0, burst)
		p.advance(100 * time.Millisecond)
		p.relayed(0, burst+rate/5)
		send(t, c, 100_000) // the other direction has no limit
		p.relayed(100_000, burst+rate/5)
		p.advance(time.Second)
		p.relayed(100_000, burst+rate/5+rate)
		p.advance(time.Hour) // more than a burst does not gather
		p.relayed(100_000, 2*burst+rate/5+rate)
	})
	t.Run("up, with a FIN after the last byte", func(t *testing.T) {
		p := startPlane(t, newTestClock(), limits(rate, 0), nettest.Start(t, nettest.CountToEOF(0)).Addr())
		c := nettest.Dial(t, p.addr)
		send(t, c, burst+rate)
		p.relayed(burst, 0)
		p.advance(900 * time.Millisecond)
		p.relayed(burst+rate*9/10, 0)
		p.advance(100 * time.Millisecond)
		p.advance(3 * time.Millisecond) // the rest is less than a step
		got, end := nettest.ReadToEnd(c, 10*time.Second)
		require.Equal(t, nettest.EOF, end)
		require.Equal(t, "75536", string(got))
		require.Equal(t, ReasonClientClosed, p.ended().Reason)
	})
	t.Run("a FIN needs no bytes", func(t *testing.T) {
		p := startPlane(t, newTestClock(), limits(rate, 0), nettest.Start(t, nettest.CountToEOF(0)).Addr())
		c := nettest.Dial(t, p.addr)
		_, err := io.Copy(c, io.LimitReader(nettest.Pattern(1), burst))
		require.NoError(t, err)
		p.relayed(burst, 0)
		require.NoError(t, c.CloseWrite())
		got, end := nettest.ReadToEnd(c, 10*time.Second)
		require.Equal(t, nettest.EOF, end)
		require.Equal(t, "65536", string(got))
	})
	t.Run("a pause is no idle time", func(t *testing.T) {
		p := startPlane(t, newTestClock(), func(s *Settings) {
			s.MaxRateDown, s.ClientIdle, s.ServerIdle, s.HalfClose = 100, 300*time.Millisecond, 300*time.Millisecond, 200*time.Millisecond
		}, nettest.Start(t, write(burst+500)).Addr())
		c := nettest.Dial(t, p.addr)
		go io.Copy(io.Discard, c)
		p.relayed(0, burst)
		require.NoError(t, c.CloseWrite())
		for range 45 {
			p.advance(100 * time.Millisecond)
		}
		p.relayed(0, burst+400)
		p.advance(600 * time.Millisecond)
		p.relayed(0, burst+500)
		for range 20 {
			p.advance(100 * time.Millisecond)
		}
		require.Equal(t, ReasonHalfClose.String(), p.ended().Reason.String())
	})
	t.Run("splice stays in use", func(t *testing.T) {
		const bulk = 4 << 20
		p := startPlane(t, nil, limits(0, 20<<20), nettest.Start(t, nettest.Send(2, bulk)).Addr())
		for attempt := 1; p.pipes() == 0; attempt++ {
			require.LessOrEqual(t, attempt, 5, "bytes of a slow sender are not spliced")
			c := nettest.Dial(t, p.addr)
			require.NoError(t, nettest.Expect(c, 2, bulk))
			c.Close()
			p.ended()
		}
	})
	t.Run("a reset passes at once", func(t *testing.T) {
		p := startPlane(t, nil, limits(0, 100), nettest.Start(t, nettest.ResetWhenTaken(100_000, 50*time.Millisecond)).Addr())
		got, end := nettest.ReadToEnd(nettest.Dial(t, p.addr), 10*time.Second)
		require.Equal(t, nettest.Reset, end)
		require.Len(t, got, 100_000, "received bytes come before the reset")
		require.Equal(t, ReasonServerReset, p.ended().Reason)
	})
	t.Run("a client's reset passes at once", func(t *testing.T) {
		var host nettest.Recorder
		p := startPlane(t, nil, limits(100, 0), nettest.Start(t, host.Handle).Addr())
		c := nettest.Dial(t, p.addr)
		_, err := io.Copy(c, io.LimitReader(nettest.Pattern(1), 100_000))
		require.NoError(t, err)
		nettest.Wait(t, 10*time.Second, "the burst", func() bool { list := p.List(1); return len(list) == 1 && list[0].BytesUp >= burst })
		nettest.Abort(c)
		require.Equal(t, nettest.Reset, host.WaitEnd(t, 0, 5*time.Second).End)
		require.Equal(t, ReasonClientReset, p.ended().Reason)
	})
	t.Run("a cut ends it at once", func(t *testing.T) {
		p := startPlane(t, nil, limits(0, 10), nettest.Start(t, write(200_000)).Addr())
		c := nettest.Dial(t, p.addr)
		_, err := io.ReadFull(c, make([]byte, burst))
		require.NoError(t, err)
		require.True(t, p.CutID(p.List(1)[0].ID, ReasonCutOperator))
		got, end := nettest.ReadToEnd(c, 10*time.Second)
		require.Equal(t, nettest.Reset, end)
		require.Less(t, len(got), 1000, "nothing more is read")
		require.Equal(t, ReasonCutOperator, p.ended().Reason)
	})
}

// Only sessions with a limit have a state for it, and only while they relay.
func TestPacerHoldsLimitedSessions(t *testing.T) {
	sessions := func(p *testPlane) (n int) {
		for _, l := range p.loops {
			done := make(chan int)
			l.post(message{do: func(l *loop) {
				if l.pacer == nil {
					done <- -1
				} else {
					done <- len(l.pacer.sessions)
				}
			}})
			n += <-done
		}
		return n
	}
	for _, rate := range []int64{0, 1000} {
		p := startPlane(t, nil, func(s *Settings) { s.MaxRateUp = rate }, nettest.Start(t, nettest.Echo).Addr())
		c := nettest.Dial(t, p.addr)
		_, err := c.Write([]byte("x"))
		require.NoError(t, err)
		_, err = io.ReadFull(c, make([]byte, 1))
		require.NoError(t, err)
		if rate == 0 {
			require.Equal(t, -len(p.loops), sessions(p))
		} else {
			require.Equal(t, 2-len(p.loops), sessions(p))
		}
		require.NoError(t, c.CloseWrite())
		p.ended()
		if rate > 0 {
			require.Equal(t, 1-len(p.loops), sessions(p))
		}
	}
}
