package vip

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/netwatch"
)

func TestMain(m *testing.M) { os.Exit(nettest.Run(m)) }

var (
	four = netip.MustParsePrefix("10.9.9.9/32")
	six  = netip.MustParsePrefix("fd00::99/128")
)

// both returns the addresses of the tests.
func both(device string, up bool) []Address {
	return []Address{{four, device, up}, {six, device, up}}
}

// apply applies in a namespace and requires that nothing is a problem.
func apply(t *testing.T, ns *nettest.Namespace, h *Host, wanted []Address) (results []Result) {
	t.Helper()
	ns.Do(func() {
		var err error
		results, err = h.Apply(wanted)
		require.NoError(t, err)
	})
	for _, r := range results {
		require.NoError(t, r.Problem)
	}
	return results
}

// shown returns the addresses and routes of the tests that a namespace has.
func shown(ns *nettest.Namespace) (list []string) {
	for line := range strings.Lines(ns.Exec("ip", "-o", "address")) {
		f := strings.Fields(line)
		if strings.HasPrefix(f[3], "10.9.9.9") || strings.HasPrefix(f[3], "fd00::99") {
			list = append(list, f[1]+" "+f[3])
		}
	}
	for _, family := range []string{"-4", "-6"} {
		for line := range strings.Lines(ns.Exec("ip", family, "route", "show", "table", "local", "proto", "119")) {
			list = append(list, "route "+strings.Fields(line)[1])
		}
	}
	slices.Sort(list)
	return list
}

// An address is added once, stays reachable when it is removed, and leaves nothing behind.
func TestApply(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	h := NewHost()
	for _, want := range []Result{{Up: true, Locked: true, Added: true}, {Up: true, Locked: true}} {
		require.Equal(t, []Result{want, want}, apply(t, ns, h, both("lo", true)))
		require.Equal(t, []string{"lo 10.9.9.9/32", "lo fd00::99/128"}, shown(ns))
	}
	for _, want := range []Result{{Locked: true, Removed: true}, {Locked: true}} {
		require.Equal(t, []Result{want, want}, apply(t, ns, h, both("lo", false)))
		require.Equal(t, []string{"route 10.9.9.9", "route fd00::99"}, shown(ns))
	}
	apply(t, ns, h, both("lo", true))
	require.Equal(t, []string{"lo 10.9.9.9/32", "lo fd00::99/128"}, shown(ns))
	apply(t, ns, h, both("lo", false)[:1])
	require.Equal(t, []string{"route 10.9.9.9"}, shown(ns))
	ns.Do(h.Close)
	require.Empty(t, shown(ns))
}

// An address moves to another interface and to another length. At an interface that resolves addresses it does not stay reachable.
func TestApplyMoves(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	ns.Exec("ip", "link", "add", "an-interface-12", "type", "veth", "peer", "name", "peer0") // a name as long as names can be
	ns.Exec("ip", "link", "set", "an-interface-12", "up")
	h := NewHost()
	apply(t, ns, h, both("lo", true))
	apply(t, ns, h, both("an-interface-12", true))
	require.Equal(t, []string{"an-interface-12 10.9.9.9/32", "an-interface-12 fd00::99/128"}, shown(ns))
	wide := both("an-interface-12", true)
	wide[0].Prefix, wide[1].Prefix = netip.MustParsePrefix("10.9.9.9/24"), netip.MustParsePrefix("fd00::99/64")
	apply(t, ns, h, wide)
	require.Equal(t, []string{"an-interface-12 10.9.9.9/24", "an-interface-12 fd00::99/64"}, shown(ns))
	wide[0].Up, wide[1].Up = false, false
	apply(t, ns, h, wide)
	require.Empty(t, shown(ns))
}

// Without the protocol of an address, as before Linux 5.18, IPv4 addresses are known by their label.
func TestMarks(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	ns.Exec("ip", "address", "add", four.String(), "dev", "lo", "label", "lo:weir")
	ns.Exec("ip", "address", "add", six.String(), "dev", "lo")
	ns.Do(func() {
		found, err := Marked(both("lo", true))
		require.NoError(t, err)
		require.Equal(t, map[netip.Addr]bool{four.Addr(): true}, found)
		left, err := Clean([]string{"eth0"})
		require.NoError(t, err)
		require.Empty(t, left)
		left, err = Clean([]string{"lo"})
		require.NoError(t, err)
		require.Equal(t, []Left{{Address: four.Addr(), Interface: "lo"}}, left)
	})
	require.Equal(t, []string{"lo fd00::99/128"}, shown(ns))
}

// Two processes do not have the same address. One that ends without removing it leaves it to the other.
func TestLocks(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	one, two := NewHost(), NewHost()
	apply(t, ns, one, both("lo", true))
	require.Equal(t, []Result{{Up: true}, {Up: true}}, apply(t, ns, two, both("lo", true)))
	ns.Do(func() {
		results, err := two.Apply(both("lo", false))
		require.NoError(t, err)
		require.Equal(t, []Result{{Problem: errInUse}, {Problem: errInUse}}, results)
		_, err = two.Apply(nil)
		require.NoError(t, err)
		left, err := Clean(nil)
		require.NoError(t, err)
		require.True(t, left[0].InUse && left[1].InUse)
		two.Close()
	})
	require.Equal(t, []string{"lo 10.9.9.9/32", "lo fd00::99/128"}, shown(ns))
	one.Release()
	nettest.Wait(t, 30*time.Second, "what was left behind to go", func() bool { // a program that another test starts has the lock for a moment
		apply(t, ns, two, nil)
		return len(shown(ns)) == 0
	})
}

// Watch reports changes of addresses and interfaces, and ends.
func TestWatch(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	changes := make(chan struct{}, 1)
	var stop func()
	ns.Do(func() {
		var err error
		stop, err = netwatch.Addresses(func() {
			select {
			case changes <- struct{}{}:
			default:
			}
		})
		require.NoError(t, err)
	})
	for _, change := range [][]string{
		{"address", "add", four.String(), "dev", "lo"}, {"address", "add", six.String(), "dev", "lo"}, {"link", "set", "lo", "down"},
	} {
		for len(changes) > 0 {
			<-changes
		}
		ns.Exec("ip", change...)
		select {
		case <-changes:
		case <-time.After(30 * time.Second):
			t.Fatal("no change reported")
		}
	}
	stop()
}
