package balance

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var instanceCount = flag.Int("instances", 4, "instances of weir in TestInstancesChooseSameServer; docs/scaling.md has the figures for 64")

// instance is one of many weirs: it reads the same file in an order of its own and learns the results of checks late.
type instance struct {
	cluster *Cluster
	learns  []verdict // by time
}

// verdict is what an instance learns of a server at a time.
type verdict struct {
	at     time.Duration
	server int
	down   bool
}

// Instances that start at different times, with the servers in different orders, choose the same server for every key as soon
// as they agree about the servers. While they do not, only keys differ that one of them gives to a server in question.
func TestInstancesChooseSameServer(t *testing.T) {
	const (
		servers  = 10_000
		keys     = 400
		steps    = 6
		changes  = 60 // of servers' states in each step
		maxDelay = 5 * time.Second
	)
	for _, m := range keyedMethods {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(64, uint64(m)))
			spec := Spec{Name: "c", Method: m, Levels: []LevelSpec{{}}}
			for i := range servers {
				spec.Levels[0].Servers = append(spec.Levels[0].Servers, ServerSpec{
					Name: fmt.Sprint("s", i), Address: fmt.Sprintf("10.0.%d.%d:6379", i/250, i%250), Weight: 1 + i%3,
				})
			}
			start := func(down []bool) *instance {
				own := spec.clone()
				list := own.Levels[0].Servers
				r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
				one := &instance{cluster: New(own, r.Uint64(), nil)}
				for _, s := range r.Perm(servers) {
					if down[s] {
						one.cluster.SetCheck(fmt.Sprint("s", s), "tcp", false, "", 0)
					}
				}
				return one
			}
			down := make([]bool, servers)
			var all []*instance
			for range *instanceCount {
				all = append(all, start(down))
			}
			differing, compared := 0, 0
			for step := range steps {
				now := time.Duration(step) * 2 * maxDelay
				changed := map[int]bool{}
				for range changes {
					s := r.IntN(servers)
					if changed[s] {
						continue
					}
					changed[s], down[s] = true, !down[s]
					for _, one := range all {
						one.learns = append(one.learns, verdict{now + time.Duration(r.Int64N(int64(maxDelay))), s, down[s]})
					}
				}
				if step%3 == 2 { // one restarts and learns the states at once
					all[r.IntN(len(all))] = start(down)
				}
				for _, one := range all {
					slices.SortFunc(one.learns, func(a, b verdict) int { return int(a.at - b.at) })
				}
				for _, at := range []time.Duration{maxDelay / 4, maxDelay / 2, maxDelay} { // at the last, everyone has learnt everything
					for _, one := range all {
						one.learn(now + at)
					}
					inQuestion := map[string]bool{}
					for s := range changed {
						_, a := all[0].health(s)
						for _, one := range all[1:] {
							if address, b := one.health(s); a != b {
								inQuestion[address] = true
							}
						}
					}
					if at == maxDelay {
						require.Empty(t, inQuestion)
					}
					base := step * keys
					first := all[0].choices(t, base, keys)
					for _, one := range all[1:] {
						for i, got := range one.choices(t, base, keys) {
							compared++
							if got != first[i] {
								differing++
								require.True(t, inQuestion[got] || inQuestion[first[i]], "key %d: %s and %s, and no instance doubts them", base+i, got, first[i])
							}
						}
					}
				}
			}
			t.Logf("%d instances, %d servers: %d of %d choices differed, all while states differed", len(all), servers, differing, compared)
		})
	}
}

// learn applies what the instance has learnt by now.
func (one *instance) learn(now time.Duration) {
	for len(one.learns) > 0 && one.learns[0].at <= now {
		v := one.learns[0]
		one.learns = one.learns[1:]
		one.cluster.SetCheck(fmt.Sprint("s", v.server), "tcp", !v.down, "", now)
	}
}

// health returns a server's address and whether the instance finds it down.
func (one *instance) health(server int) (string, bool) {
	s := one.cluster.Server(fmt.Sprint("s", server))
	return s.Address(), s.State() == Down
}

// choices returns the addresses of the servers of n keys.
func (one *instance) choices(t *testing.T, first, n int) []string {
	list := make([]string, n)
	for i := range list {
		lease, err := one.cluster.Pick(0, &Attempts{Key: HashKey(fmt.Append(nil, "client", first+i)), Keyed: true})
		require.NoError(t, err)
		list[i] = lease.Server().Address()
		lease.Done(0)
	}
	return list
}
