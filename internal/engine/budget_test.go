package engine

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"weir/checks"
	"weir/conf"
)

// Whatever is asked for, the parts of a budget fit the limit, and there is room for a session or an error that says how
// many descriptors are missing: with those there is one.
func TestBudgetFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := &conf.Config{File: "weir.toml", Listeners: []conf.Listener{{}}}
		for i := range rapid.IntRange(0, 400).Draw(t, "addresses") {
			at := conf.Address{Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(1+i)), Port: uint16(1 + i)}
			if rapid.Bool().Draw(t, "unix") {
				at = conf.Address{Path: "/x"}
			}
			cfg.Listeners[0].Addresses = append(cfg.Listeners[0].Addresses, at)
		}
		cfg.Admin.Listen = make([]conf.Address, rapid.IntRange(0, 3).Draw(t, "api"))
		jobs := map[checks.Key]*job{}
		for i := range rapid.IntRange(0, 500).Draw(t, "checks") {
			jobs[checks.Key{Server: string(rune(i))}] = &job{sockets: 1 + i%2*5}
		}
		loops := rapid.IntRange(1, 64).Draw(t, "loops")
		limit := rapid.IntRange(8, 30_000).Draw(t, "limit")
		b, err := computeBudget(limit, loops, cfg, jobs)
		if err != nil {
			least := limit
			for ; err != nil; least++ {
				b, err = computeBudget(least, loops, cfg, jobs)
			}
			require.Positive(t, b.sessions)
			return
		}
		require.Positive(t, b.sessions)
		require.LessOrEqual(t, b.reserved()+b.sessions*b.each, limit)
		for _, part := range []int{b.listening, b.loops, b.api, b.checks, b.other} {
			require.GreaterOrEqual(t, part, 0)
		}
	})
}
