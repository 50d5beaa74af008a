package balance

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConcurrentPicksKeepShares(t *testing.T) {
	const each = 125000
	for m, weights := range map[Method][]int{Wrr: {1, 2, 3, 4}, Rr: {1, 1, 1, 1}} {
		c := newOneLevelCluster(m, weights...)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range each {
					lease, err := c.Pick(0, &Attempts{})
					if err != nil {
						t.Error(err)
						return
					}
					lease.Done(0)
				}
			})
		}
		wg.Wait()
		state := c.Snapshot(0)
		require.Zero(t, state.Leases)
		for i, s := range state.Levels[0].Servers {
			sum := weights[0] + weights[1] + weights[2] + weights[3]
			require.Equal(t, 8*each*weights[i]/sum, int(s.Picks), "not one off")
			require.Zero(t, s.Sessions)
		}
	}
}

// The sequence does not depend on the number of callers that share a cursor.
func TestWrrSequenceIsExactAcrossCallers(t *testing.T) {
	c := newOneLevelCluster(Wrr, 1, 4, 3, 6)
	var names [2800]byte
	var wg sync.WaitGroup
	var mu sync.Mutex
	at := 0
	for range 7 {
		wg.Go(func() {
			for range 400 {
				mu.Lock()
				lease, _ := c.Pick(0, &Attempts{})
				names[at] = lease.Server().Name()[0]
				at++
				mu.Unlock()
				lease.Done(0)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 200, strings.Count(string(names[:]), "DBCDBDACDBDCBD"))
}

// All operations run concurrently, for the race detector. Afterwards all counters are zero.
func TestConcurrentOperationsLeaveCountersZero(t *testing.T) {
	spec := newLevelsSpec("ABC", "CD")
	spec.Queue, spec.SlowStart = true, time.Millisecond
	for i := range spec.Levels {
		for j := range spec.Levels[i].Servers {
			s := &spec.Levels[i].Servers[j]
			s.MaxSessions, s.MaxFails, s.FailTimeout = 2, 2, time.Millisecond
		}
	}
	var events atomic.Int64
	c := New(spec, 1, func(Event) { events.Add(1) })
	var clock atomic.Int64
	now := func() time.Duration { return time.Duration(clock.Add(1000)) }
	var sessions, noise sync.WaitGroup
	for g := range 8 {
		sessions.Go(func() {
			for i := range 3000 {
				var attempts Attempts
				for {
					lease, err := c.Pick(now(), &attempts)
					if err == ErrFull {
						w, woken := &Waiter{}, make(chan struct{}, 1)
						c.Wait(now(), &attempts, w, func() { woken <- struct{}{} })
						if i%5 == 0 {
							c.CancelWait(w, now())
							break
						}
						<-woken
						lease, w.Lease = w.Lease, Lease{}
						if lease.Server() == nil {
							continue
						}
					} else if err != nil {
						break
					}
					if (i+g)%3 == 0 {
						lease.Fail(now(), "refused")
						continue
					}
					lease.Established(now(), time.Microsecond)
					lease.Done(now())
					break
				}
			}
		})
	}
	stop := make(chan struct{})
	busy := func(do func(i int)) {
		noise.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					do(i)
				}
			}
		})
	}
	busy(func(i int) { c.SetCheck(string(rune('A'+i%4)), "tcp", i%3 > 0, "", now()) })
	busy(func(i int) { c.SetOverride("A", Override{Weight: pointerTo(i % 5)}, now()); c.Snapshot(now()) })
	busy(func(i int) {
		changed := spec.clone()
		changed.Levels[0].Servers[0].Weight = i % 3
		c.Commit(c.Prepare(changed), now())
		_ = c.Server("A").Handle()
	})
	sessions.Wait()
	close(stop)
	noise.Wait()
	state := c.Snapshot(now())
	require.Zero(t, state.Leases)
	require.Zero(t, state.Waiting)
	for _, l := range state.Levels {
		for _, s := range l.Servers {
			require.Zero(t, s.Sessions)
		}
	}
	require.Positive(t, events.Load())
}

func TestPicksDoNotAllocate(t *testing.T) {
	for m := range methods {
		c := newOneLevelCluster(m, 1, 2, 3, 4)
		key := uint64(0)
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			key += goldenRatio
			attempts := Attempts{Key: key, Keyed: true}
			for range 3 { // an attempt that succeeds after two that failed
				lease, err := c.Pick(0, &attempts)
				if err != nil {
					t.Fatal(err)
				}
				if attempts.Count() < 3 {
					lease.Fail(0, "refused")
				} else {
					lease.Established(0, time.Millisecond)
					lease.Done(0)
				}
			}
		}), "%v", m)
	}
}
