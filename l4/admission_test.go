package l4

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func networks(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestAddressSet(t *testing.T) {
	var none *AddressSet
	require.False(t, none.Contains(netip.MustParseAddr("10.0.0.1")))
	require.False(t, none.Contains(netip.Addr{}))
	require.Nil(t, NewAddressSet(nil, false))
	s := NewAddressSet(networks("10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32", "2001:db8::/32"), true)
	for ip, u := range map[string]bool{
		"10.255.255.255": true, "11.0.0.0": false, "192.0.2.1": true, "192.0.2.2": false, "2001:db8::1": true, "2001:db9::1": false, "::1": false,
	} {
		require.Equal(t, u, s.Contains(netip.MustParseAddr(ip)), ip)
	}
	require.True(t, s.Contains(netip.Addr{}))
}

// A set gives the same answer as a look at every network.
func TestAddressSetMatchesNetworks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []netip.Prefix
		for range rapid.IntRange(1, 50).Draw(t, "networks") {
			ip := netip.AddrFrom4([4]byte{10, byte(rapid.IntRange(0, 3).Draw(t, "b")), rapid.Byte().Draw(t, "c"), rapid.Byte().Draw(t, "d")})
			list = append(list, netip.PrefixFrom(ip, rapid.IntRange(8, 32).Draw(t, "bits")).Masked())
		}
		s := NewAddressSet(list, false)
		for range 50 {
			ip := netip.AddrFrom4([4]byte{10, byte(rapid.IntRange(0, 3).Draw(t, "b")), rapid.Byte().Draw(t, "c"), rapid.Byte().Draw(t, "d")})
			want := false
			for _, n := range list {
				want = want || n.Contains(ip)
			}
			require.Equal(t, want, s.Contains(ip), "%v in %v", ip, list)
		}
	})
}

// model is admission without regard to speed or concurrency.
type model struct {
	live    int
	sources map[netip.Addr]int
	tokens  float64
	at      time.Duration
}

func (m *model) enter(a *Admission, ip netip.Addr, now time.Duration) Rejection {
	if rate := float64(a.MaxSessionRate); rate > 0 {
		m.tokens = min(rate, m.tokens+(now-m.at).Seconds()*rate)
	}
	m.at = now
	switch {
	case a.Deny.Addresses.Contains(ip), a.Allow.Addresses != nil && !a.Allow.Addresses.Contains(ip):
		return RejectedDenied
	case a.MaxSessions > 0 && m.live >= a.MaxSessions:
		return RejectedMaxSessions
	case a.MaxPerSource > 0 && ip.IsValid() && m.sources[ip] >= a.MaxPerSource:
		return RejectedPerSource
	case a.MaxSessionRate > 0 && m.tokens < 1:
		return RejectedRate
	}
	if a.MaxSessionRate > 0 {
		m.tokens--
	}
	m.live++
	if ip.IsValid() {
		m.sources[ip]++
	}
	return Admitted
}

func (m *model) leave(ip netip.Addr) {
	m.live--
	if m.sources[ip]--; m.sources[ip] <= 0 {
		delete(m.sources, ip)
	}
}

// A million random arrivals and departures under changing limits give the model's results and leave no counts.
func TestAdmissionMatchesModel(t *testing.T) {
	const rounds = 1_000_000
	random := rand.New(rand.NewPCG(1, 2))
	gate := NewAdmissionState(true, 64)
	a := Admission{State: gate}
	m := &model{sources: map[netip.Addr]int{}}
	type client struct {
		ip   netip.Addr
		held admissionClaim
	}
	var u []client
	var seen [rejectionCount]int
	// 64 ns a tick: times and rates that binary fractions hold exactly, so that the model's sums do not drift.
	now := time.Duration(0)
	for i := range rounds {
		if i%1000 == 0 {
			a.MaxSessions = random.IntN(3) * 40
			a.MaxPerSource = random.IntN(3) * 5
			a.Deny = AccessList{Addresses: NewAddressSet(networks([]string{"10.0.0.0/32", "10.0.0.4/31", "192.0.2.0/24"}[random.IntN(3)]), random.IntN(2) == 0)}
			a.Allow = AccessList{}
			if random.IntN(3) == 0 {
				a.Allow = AccessList{Addresses: NewAddressSet(networks("10.0.0.0/28"), random.IntN(2) == 0)}
			}
			if rate := []int{0, 1 << 9, 1 << 6}[random.IntN(3)]; rate != a.MaxSessionRate { // a new rate begins with a full bucket
				a.MaxSessionRate = rate
				now += time.Second
				m.tokens, m.at = float64(rate), now
			}
		}
		now += time.Duration(random.IntN(1<<15)) * 64
		if n := len(u); n > 0 && random.IntN(5) < 2 {
			c := &u[random.IntN(n)]
			m.leave(c.ip)
			a.release(&c.held, c.ip)
			a.release(&c.held, c.ip) // once more does nothing
			*c = u[n-1]
			u = u[:n-1]
			continue
		}
		var ip netip.Addr
		if n := random.IntN(21); n < 20 {
			ip = netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
		}
		want := m.enter(&a, ip, now)
		held, got := a.acquire(ip, nil, now)
		if want != got || (held == (admissionClaim{})) != (got != Admitted) {
			t.Fatalf("round %d: want %v, got %v and %+v", i, want, got, held)
		}
		seen[got]++
		if got == Admitted {
			u = append(u, client{ip, held})
		}
		if i%100 == 0 {
			require.Equal(t, m.live, gate.Sessions())
			require.Equal(t, len(m.sources), gate.Sources())
		}
	}
	for _, why := range []Rejection{Admitted, RejectedDenied, RejectedMaxSessions, RejectedPerSource, RejectedRate} {
		require.Greater(t, seen[why], 1000, why.String())
	}
	for i := range u {
		a.release(&u[i].held, u[i].ip)
	}
	require.Zero(t, gate.Sessions())
	require.Zero(t, gate.Sources())
}

// Under concurrent load no limit is exceeded, the full capacity is used, and no counts are left.
func TestAdmissionLimitsAreExactConcurrently(t *testing.T) {
	const limit, perSource = 64, 5
	gate := NewAdmissionState(true, 64)
	a := Admission{State: gate, MaxSessions: limit, MaxPerSource: perSource}
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(3, uint64(worker)))
			type client struct {
				ip   netip.Addr
				held admissionClaim
			}
			var u []client
			for range 20_000 {
				if n := gate.Sessions(); n < 0 || n > limit {
					t.Errorf("%d sessions", n)
					return
				}
				if len(u) > 0 && random.IntN(2) == 0 {
					c := u[len(u)-1]
					u = u[:len(u)-1]
					a.release(&c.held, c.ip)
					continue
				}
				ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(20))})
				if held, why := a.acquire(ip, nil, 0); why == Admitted {
					u = append(u, client{ip, held})
				}
			}
			for _, c := range u {
				a.release(&c.held, c.ip)
			}
		})
	}
	wait.Wait()
	require.Zero(t, gate.Sessions())
	require.Zero(t, gate.Sources())
	for i := range limit {
		_, why := a.acquire(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), nil, 0)
		require.Equal(t, Admitted, why)
	}
	_, why := a.acquire(netip.AddrFrom4([4]byte{10, 2, 0, 0}), nil, 0)
	require.Equal(t, RejectedMaxSessions, why)
}

// A rate admits one second's worth at once, and then that many per second.
func TestSessionRateAllowsBurstOfOneSecond(t *testing.T) {
	for _, rate := range []int{1, 3, 7, 10, 999, 1_000_000} {
		var b bucket
		burst := 0
		for b.take(time.Hour, rate) {
			burst++
		}
		require.Equal(t, rate, burst)
		for range 5 {
			require.False(t, b.take(time.Hour+time.Second/time.Duration(rate)-time.Microsecond, rate))
		}
		later := 0
		for b.take(time.Hour+time.Second, rate) {
			later++
		}
		require.Equal(t, rate, later)
		b.refund(rate)
		require.True(t, b.take(time.Hour+time.Second, rate))
		require.False(t, b.take(time.Hour+time.Second, rate))
	}
}

// Admission allocates nothing and stays fast with ten thousand networks.
func TestAdmissionIsFastAndAllocatesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	list := make([]netip.Prefix, 10_000)
	for i := range list {
		ip := netip.AddrFrom4([4]byte{byte(1 + random.IntN(9)), byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())})
		list[i] = netip.PrefixFrom(ip, 8+random.IntN(25)).Masked()
	}
	a := Admission{State: NewAdmissionState(true, 64), Deny: AccessList{Addresses: NewAddressSet(list, false)}, MaxSessions: 1, MaxPerSource: 1, MaxSessionRate: 1}
	ip := netip.MustParseAddr("192.0.2.1")
	held, _ := a.acquire(ip, nil, 0)
	denied := list[7].Addr()
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, why := a.acquire(ip, nil, 0); why != RejectedMaxSessions {
			t.Fatal(why)
		}
		if _, why := a.acquire(denied, nil, 0); why != RejectedDenied {
			t.Fatal(why)
		}
	}))
	const looks = 10_000
	quickest := time.Hour // this machine may be busy
	for range 10 {
		begin := time.Now()
		for range looks {
			a.acquire(denied, nil, 0)
		}
		quickest = min(quickest, time.Since(begin))
	}
	require.Less(t, quickest/looks, 20*time.Microsecond)
	a.release(&held, ip)
}

func BenchmarkAdmission(b *testing.B) {
	a := Admission{State: NewAdmissionState(false, 64)}
	ip := netip.MustParseAddr("192.0.2.1")
	run := func(b *testing.B) {
		for b.Loop() {
			held, _ := a.acquire(ip, nil, 0)
			a.release(&held, ip)
		}
	}
	b.Run("open", run)
	a.MaxSessions, a.MaxSessionRate = 1000, 1_000_000_000
	b.Run("limits", run)
	a.State, a.MaxPerSource = NewAdmissionState(true, 64), 10
	b.Run("sources", run)
	a.Deny = AccessList{Addresses: NewAddressSet(networks("10.0.0.0/8", "172.16.0.0/12"), false)}
	b.Run("deny", run)
}
