package engine

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/l4"
)

// Counts stay with the addresses of a listener when it is renamed, gains or loses an address. If a listener is split, the
// one with its name keeps them.
func TestAdmissionStatesSurviveReload(t *testing.T) {
	listener := func(name string, ports ...uint16) conf.Listener {
		ln := conf.Listener{Name: name, Protocol: "tcp"}
		for _, p := range ports {
			ln.Addresses = append(ln.Addresses, conf.Address{Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), p), Port: p})
		}
		return ln
	}
	file := func(list ...conf.Listener) *conf.Config { return &conf.Config{Listeners: list} }
	gateOf := func(g admissionStates, ln conf.Listener) *l4.AdmissionState {
		gate := g[listenerID(ln.Protocol, ln.Addresses[0])]
		for _, at := range ln.Addresses {
			require.Same(t, gate, g[listenerID(ln.Protocol, at)], "one for all its addresses")
		}
		return gate
	}
	first := file(listener("a", 1, 2), listener("b", 3))
	before, kept := admissionStates{}.of(first, nil)
	require.Empty(t, kept)
	a, b := gateOf(before, first.Listeners[0]), gateOf(before, first.Listeners[1])
	require.NotSame(t, a, b)
	for _, c := range []struct {
		name string
		next *conf.Config
		want []*l4.AdmissionState // nil = a new one
	}{
		{"the same", file(listener("a", 1, 2), listener("b", 3)), []*l4.AdmissionState{a, b}},
		{"another order", file(listener("b", 3), listener("a", 2, 1)), []*l4.AdmissionState{b, a}},
		{"another name", file(listener("c", 1, 2), listener("b", 3)), []*l4.AdmissionState{a, b}},
		{"a further address", file(listener("a", 4, 1, 2), listener("b", 3)), []*l4.AdmissionState{a, b}},
		{"a lost address", file(listener("a", 2), listener("b", 3)), []*l4.AdmissionState{a, b}},
		{"split", file(listener("c", 1), listener("a", 2), listener("b", 3)), []*l4.AdmissionState{nil, a, b}},
		{"joined", file(listener("b", 1, 2, 3)), []*l4.AdmissionState{b}},
		{"names exchanged", file(listener("b", 1, 2), listener("a", 3)), []*l4.AdmissionState{a, b}},
		{"moved", file(listener("a", 9), listener("b", 3)), []*l4.AdmissionState{nil, b}},
	} {
		next, kept := before.of(c.next, first)
		for i, ln := range c.next.Listeners {
			got := gateOf(next, ln)
			if c.want[i] == nil {
				require.False(t, got == a || got == b, c.name)
				require.False(t, kept[got], c.name)
			} else {
				require.Same(t, c.want[i], got, c.name)
				require.True(t, kept[got], c.name)
			}
		}
	}
}
