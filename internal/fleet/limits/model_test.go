package limits

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSumNeverExceedsLimit runs fleets with random demand, partitions, late watches, lost replies, delayed requests, pauses,
// deaths, restarts and clocks that differ. At each step no node may use more than the store says that it holds, and the
// parts of a limit do not exceed it.
//
// A campaign and an explicit -rapid.checks run more fleets.
func TestSumNeverExceedsLimit(t *testing.T) {
	explicit := os.Getenv("WEIR_TEST_SCALE") != ""
	flag.Visit(func(f *flag.Flag) { explicit = explicit || f.Name == "rapid.checks" })
	if !explicit {
		flag.Set("rapid.checks", "40")
		defer flag.Set("rapid.checks", "100")
	}
	rapid.Check(t, func(t *rapid.T) {
		keys := []string{ServerKey("c", "s"), ListenerKey(Rate, "l"), ListenerKey(PerSource, "l")}
		w := newWorld(rapid.Uint64().Draw(t, "seed"), keys...)
		reserve := rapid.SampledFrom([]time.Duration{0, 20 * time.Second}).Draw(t, "reserve")
		limit := rapid.SampledFrom([]int{1, 2, 3, 10, 100}).Draw(t, "limit")
		for i := range rapid.IntRange(1, 4).Draw(t, "nodes") {
			s := w.add(fmt.Sprintf("n%d", i), reserve, limit)
			s.rate = rapid.SampledFrom([]float64{0.98, 1, 1.02}).Draw(t, "rate")
			s.origin = time.Duration(rapid.IntRange(0, 1000).Draw(t, "origin")) * time.Minute
			s.start()
			for _, key := range keys {
				s.demand[key] = rapid.IntRange(0, limit).Draw(t, "demand")
			}
		}
		check := func() {
			w.watchdog()
			if v := w.violation(); v != "" {
				t.Fatal(v)
			}
		}
		node := func() *simNode { return rapid.SampledFrom(w.nodes).Draw(t, "node") }
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"pass": func(t *rapid.T) {
				w.run(time.Duration(rapid.IntRange(1, 40).Draw(t, "ticks"))*simTick, check)
			},
			"pass the reserve": func(t *rapid.T) { w.run(24*time.Second, check) },
			"demand": func(t *rapid.T) {
				node().demand[rapid.SampledFrom(keys).Draw(t, "key")] = rapid.SampledFrom([]int{0, 0, 1, limit / 3, limit, 2 * limit}).Draw(t, "demand")
			},
			"partition": func(t *rapid.T) { s := node(); s.cut = !s.cut; s.client.Cut(s.cut) },
			"long partition": func(t *rapid.T) {
				s := node()
				s.demand[keys[0]], s.cut = limit, true
				s.client.Cut(true)
				s.stick = s.stick || rapid.Bool().Draw(t, "stick")
				w.run(time.Duration(rapid.IntRange(60, 120).Draw(t, "ticks"))*simTick, check)
				s.client.Delay(rapid.Bool().Draw(t, "late"))
				s.cut = false
				s.client.Cut(false)
			},
			"shift demand": func(t *rapid.T) {
				key, from, to := rapid.SampledFrom(keys).Draw(t, "key"), node(), node()
				from.demand[key], to.demand[key] = 0, 2*limit
				from.stick = from.stick || rapid.Bool().Draw(t, "stick")
				w.run(8*simTick, check)
			},
			"late watch": func(t *rapid.T) { node().client.Delay(rapid.Bool().Draw(t, "late")) },
			"lost reply": func(t *rapid.T) { node().client.LoseReply() },
			"delayed":    func(t *rapid.T) { node().stick = true },
			"arrives": func(t *rapid.T) {
				if len(w.stuck) > 0 {
					w.ghost.Commit(context.Background(), w.stuck[0])
					w.stuck = w.stuck[1:]
				}
			},
			"blind": func(t *rapid.T) { s, o := node(), node(); s.blind[o.name] = !s.blind[o.name] },
			"pause": func(t *rapid.T) {
				if s := node(); s.paused > 0 {
					s.paused = 0
				} else if s.alive {
					s.paused = w.now
				}
			},
			"die": func(t *rapid.T) {
				if s := node(); s.alive {
					s.kill()
				} else {
					s.start()
				}
			},
			"forget the dead": func(t *rapid.T) {
				if s, o := node(), node(); !s.alive && o.alive && !o.cut {
					if txn, ok := o.node.Forget(s.name); ok {
						o.client.Commit(context.Background(), txn)
					}
				}
			},
			"compact": func(t *rapid.T) { w.store.Compact() },
			"reload": func(t *rapid.T) {
				node().setLimit(rapid.SampledFrom(keys).Draw(t, "key"), rapid.SampledFrom([]int{0, 1, limit, limit, limit + 5}).Draw(t, "limit"))
			},
			"reserve": func(t *rapid.T) {
				s := node()
				s.reserve = rapid.SampledFrom([]time.Duration{0, 20 * time.Second, 40 * time.Second}).Draw(t, "reserve")
				s.node.SetReserve(s.reserve)
			},
		})
	})
}

// watchdog kills processes that hang.
func (w *world) watchdog() {
	for _, s := range w.nodes {
		if s.paused > 0 && w.now-s.paused >= 750*time.Millisecond {
			s.kill()
		}
	}
}
