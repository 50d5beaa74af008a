package l4

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPartOfRate(t *testing.T) {
	a := Admission{State: NewAdmissionState(false, 64), MaxSessionRate: 100}
	ip := netip.MustParseAddr("192.0.2.1")
	admitted := func(now time.Duration) (n int) {
		for {
			held, why := a.acquire(ip, nil, now)
			if why != Admitted {
				require.Equal(t, RejectedRate, why)
				return n
			}
			a.release(&held, ip)
			n++
		}
	}
	require.Equal(t, 100, admitted(time.Hour))
	a.State.SetParts(30, AllOf)
	require.Equal(t, 30, admitted(time.Hour+time.Second))
	a.State.SetParts(0, AllOf)
	require.Equal(t, 0, admitted(2*time.Hour))
	a.State.SetParts(500, AllOf)
	require.Equal(t, 100, admitted(3*time.Hour), "a part never raises a limit")
	a.State.SetParts(AllOf, 0)
	require.Equal(t, 100, admitted(4*time.Hour))
	a.MaxSessionRate = 0
	a.State.SetParts(0, 0)
	held, why := a.acquire(ip, nil, 0)
	require.Equal(t, Admitted, why, "without a limit parts have no effect")
	a.cancel(&held, ip)
}

func TestPartOfSessionsPerSource(t *testing.T) {
	a := Admission{State: NewAdmissionState(true, 64), MaxPerSource: 10}
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	admitted := func(ip netip.Addr) (n int) {
		for {
			if _, why := a.acquire(ip, nil, 0); why != Admitted {
				require.Equal(t, RejectedPerSource, why)
				return n
			}
			n++
		}
	}
	a.State.SetParts(AllOf, 3)
	require.Equal(t, 3, admitted(one))
	require.Equal(t, 3, a.State.MostOfSource())
	a.State.SetParts(AllOf, 0)
	require.Equal(t, 0, admitted(two))
	a.State.SetParts(AllOf, AllOf)
	require.Equal(t, 7, admitted(one))
	require.Equal(t, 10, a.State.MostOfSource())
	require.Zero(t, NewAdmissionState(false, 64).MostOfSource())
}
