package fleet_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/fleet/fleettest"
)

func TestVotesOfLiveNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fleettest.New()
		n := trio(t, s)
		require.Equal(t, "[] of 2", n[0].votes("a"))
		n[1].find("a")
		synctest.Wait()
		require.Equal(t, "[n2] of 2", n[0].votes("a"), "at once")
		require.Equal(t, "[] of 2", n[1].votes("a"), "not counting itself")
		n[2].find("a", "b")
		pass(s, 2*time.Second)
		require.Equal(t, "[n2 n3] of 2", n[0].votes("a"))
		require.Equal(t, "[n3] of 2", n[1].votes("b"))
		n[2].stop() // it leaves
		synctest.Wait()
		require.Equal(t, "[n2] of 1", n[0].votes("a"))
		n[1].find()
		pass(s, 2*time.Second)
		require.Equal(t, "[] of 1", n[0].votes("a"))
		n[1].mu.Lock()
		n[1].found = map[string][]string{} // a reload: its own verdict decides
		n[1].mu.Unlock()
		pass(s, 2*time.Second)
		require.Equal(t, "[] of 0", n[0].votes("a"))
	})
}

// A node that is cut off is counted for ttl by the others, and counts them for ttl.
func TestVotesOfNodeThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fleettest.New()
		n := trio(t, s)
		n[0].find("a")
		pass(s, 2*time.Second)
		n[0].store.Cut(true)
		synctest.Wait()
		n[0].find("a", "b")
		pass(s, ttl-time.Second)
		require.Equal(t, "[] of 2", n[0].votes("a"))
		_, until := n[0].Votes("c")
		require.WithinDuration(t, time.Now().Add(time.Second), until, time.Second)
		require.Equal(t, "[n1] of 2", n[1].votes("a"))
		pass(s, 2*time.Second)
		require.Equal(t, "[] of 0", n[0].votes("a"), "its own verdict decides")
		require.Equal(t, "[] of 1", n[1].votes("a"))
		n[0].store.Cut(false)
		pass(s, 10*time.Second)
		require.Equal(t, "[n1] of 2", n[1].votes("b"))
		require.Equal(t, "[] of 2", n[0].votes("b"))
		_, until = n[0].Votes("c")
		require.Zero(t, until)
	})
}

func TestVotesAfterUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fleettest.New()
		n := trio(t, s)
		n[1].find("a")
		pass(s, 2*time.Second)
		saved := n[0].Save()
		n[0].stop()
		n[1].store.Cut(true)
		later := join(t, s, "n1", saved)
		later.store.Cut(true)
		require.Equal(t, "[n2] of 2", later.votes("a"), "before it has reached the store")
		pass(s, ttl+time.Second)
		require.Equal(t, "[] of 0", later.votes("a"))
		require.Equal(t, "[] of 0", join(t, s, "n1", saved).votes("a"), "what was saved is too old")
	})
}

// A server that flaps costs at most one write a second. A list that is longer than a record may be counts for what it names.
func TestVerdictsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fleettest.New()
		n := trio(t, s)
		before := s.Revision()
		for i := range 100 {
			n[1].find([]string{"a", "b"}[i%2])
			time.Sleep(50 * time.Millisecond)
		}
		require.LessOrEqual(t, s.Revision()-before, int64(10))
		var all []string
		for i := range 5000 {
			all = append(all, fmt.Sprintf("server%04d", i))
		}
		n[1].find(all...)
		pass(s, 3*time.Second)
		require.Equal(t, "[n2] of 2", n[0].votes("server0000"))
		require.Equal(t, "[] of 1", n[0].votes("server4999"), "it does not say")
		for key, value := range map[string]string{"verdicts/n9/c": `{"v":1,"down":["a"]}`, "verdicts/n3": "{}", "verdicts/n3/d": `{"v":1,"down":["b","a"]}`, "verdicts/n2/d": "["} {
			s.Write(key, value)
		}
		pass(s, time.Second)
		require.Equal(t, "[] of 1", n[0].votes("a"), "n9 is not alive")
		require.Len(t, n[0].Status().Problems, 4)
		s.Write("verdicts/n3/c", `{"v":1,"down":["a"]}`) // as of a foreign program
		pass(s, 2*time.Second)
		require.Equal(t, "[] of 1", n[0].votes("a"))
		require.Len(t, n[0].Status().Problems, 4, "n3 has written it again")
	})
}

// While the store is full, a node deletes what is out of date, so that the others do not count it.
func TestVerdictsInFullStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fleettest.New()
		n := trio(t, s)
		n[1].find("a")
		pass(s, 2*time.Second)
		s.SetFull(true)
		n[1].find()
		pass(s, 2*time.Second)
		require.Equal(t, "[] of 1", n[0].votes("a"))
		require.Contains(t, n[1].Brief().LastError, "full")
		s.SetFull(false)
		pass(s, 10*time.Second)
		require.Equal(t, "[] of 2", n[0].votes("a"))
		s.Remove("verdicts/")
		pass(s, 3*time.Second)
		require.Equal(t, "[] of 2", n[0].votes("a"), "written again")
	})
}

// Random verdicts, partitions, restarts, lost leases and wiped stores: a node never counts more nodes than there are, and all
// agree about the others when everything can be reached again.
func TestRandomVerdicts(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) { randomVerdicts(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func randomVerdicts(t *testing.T, rng *rand.Rand) {
	s := fleettest.New()
	n := trio(t, s)
	names := []string{"n1", "n2", "n3"}
	for range 40 {
		at := rng.IntN(3)
		switch rng.IntN(8) {
		case 0, 1, 2:
			n[at].find([][]string{nil, {"a"}, {"b"}, {"a", "b"}}[rng.IntN(4)]...)
		case 3:
			n[at].store.Cut(true)
		case 4:
			n[at].store.Cut(false)
		case 5:
			found, saved := n[at].found, n[at].Save()
			n[at].stop()
			n[at] = join(t, s, names[at], saved)
			n[at].find(found["c"]...)
		case 6:
			s.EndLeases(n[at].store)
		case 7:
			s.Wipe()
		}
		pass(s, time.Duration(rng.IntN(8))*500*time.Millisecond)
		for _, x := range n {
			v, until := x.Votes("c")
			nodes, down := v.Of("a")
			require.LessOrEqual(t, nodes, 2)
			require.LessOrEqual(t, len(down), nodes)
			require.LessOrEqual(t, time.Until(until), ttl)
		}
	}
	for _, x := range n {
		x.store.Cut(false)
	}
	pass(s, 3*ttl)
	for i, x := range n {
		for _, server := range []string{"a", "b"} {
			down := []string{}
			for j, other := range n {
				if i != j && slices.Contains(other.found["c"], server) {
					down = append(down, names[j])
				}
			}
			require.Equal(t, fmt.Sprintf("%v of 2", down), x.votes(server))
		}
	}
}
