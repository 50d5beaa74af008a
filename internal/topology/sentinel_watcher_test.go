package topology

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/checks"
	"weir/conf"
	"weir/internal/nettest"
)

// watching is a watcher under test with what it has published.
type watching struct {
	Watcher
	t  *testing.T
	mu sync.Mutex

	views []View
	at    []time.Time
}

// watch starts a watcher for "mymaster" until the test ends.
func watch(t *testing.T, sentinels []string, change func(*Options)) *watching {
	t.Helper()
	o := Options{Cluster: "c", Spec: conf.Topology{Type: "sentinel", Role: "primary", Interval: 10 * time.Second, Timeout: 500 * time.Millisecond, Master: "mymaster"}}
	for _, a := range sentinels {
		o.Spec.Sentinels = append(o.Spec.Sentinels, addressOf(t, a))
	}
	w := &watching{t: t}
	o.Publish = func(v View) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.views, w.at = append(w.views, v), append(w.at, time.Now())
	}
	o.Spec.Discover = true // the servers of most tests do not matter
	if change != nil {
		change(&o)
	}
	w.Watcher = startWatcher(t, o)
	return w
}

func addressOf(t *testing.T, text string) conf.Address {
	t.Helper()
	if literal, err := netip.ParseAddrPort(text); err == nil {
		return conf.Address{Addr: literal, Port: literal.Port()}
	}
	host, port, err := net.SplitHostPort(text)
	require.NoError(t, err)
	a := conf.Address{Host: host}
	_, err = fmt.Sscan(port, &a.Port)
	require.NoError(t, err)
	return a
}

// last returns the latest view.
func (w *watching) last() View {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.views) == 0 {
		return View{}
	}
	return w.views[len(w.views)-1]
}

// published returns a copy of all views.
func (w *watching) published() []View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]View(nil), w.views...)
}

// wait waits for a view and returns it.
func (w *watching) wait(what string, cond func(View) bool) (v View) {
	w.t.Helper()
	defer func() {
		if w.t.Failed() {
			w.t.Logf("last view: %+v", w.last())
		}
	}()
	nettest.Wait(w.t, time.Minute, what, func() bool { v = w.last(); return cond(v) })
	return v
}

// waitPrimary waits until the primary is confirmed.
func (w *watching) waitPrimary(address string) View {
	w.t.Helper()
	return w.wait("primary "+address, func(v View) bool { return v.Primary == address && v.Stale.IsZero() })
}

// fakes starts Sentinels that name an address.
func fakes(t *testing.T, n int, address string, epoch uint64) (list []*nettest.FakeSentinel, addresses []string) {
	t.Helper()
	for range n {
		f := nettest.StartFakeSentinel(t, "mymaster", nettest.SentinelAt(address, epoch))
		list, addresses = append(list, f), append(addresses, f.Addr())
	}
	return list, addresses
}

// waitSubscribed waits until all have a subscriber.
func waitSubscribed(t *testing.T, list []*nettest.FakeSentinel) {
	t.Helper()
	nettest.Wait(t, 10*time.Second, "subscriptions", func() bool {
		for _, f := range list {
			if f.Subscribers() == 0 {
				return false
			}
		}
		return true
	})
}

const addrA, addrB, addrC = "10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"

// bound is five times d, because other work may delay a test.
func bound(d time.Duration) time.Duration { return 5 * d }

func TestSentinelFirstDecisionNeedsOnlyAQuorum(t *testing.T) {
	t.Parallel()
	list, addresses := fakes(t, 3, addrA, 7)
	list[2].Set(nettest.SentinelState{Handler: nettest.Silent})
	begin := time.Now()
	w := watch(t, addresses, func(o *Options) { o.Spec.Timeout = 10 * time.Second })
	v := w.waitPrimary(addrA)
	require.Less(t, nettest.Elapsed(begin), bound(time.Second))
	require.Equal(t, View{
		Members: []Member{{"", addrA, Primary, "sentinel: primary is 10.0.0.1:6379, epoch 7"}}, Primary: addrA,
		Source: "sentinel: primary is 10.0.0.1:6379, epoch 7", Epoch: 7, Fence: 7, DecidedAt: v.DecidedAt,
	}, v)
	require.Len(t, w.published(), 1)
}

func TestSentinelSwitchDoesNotWaitForTheInterval(t *testing.T) {
	t.Parallel()
	list, addresses := fakes(t, 3, addrA, 7)
	w := watch(t, addresses, nil)
	w.waitPrimary(addrA)
	waitSubscribed(t, list)
	for i, address := range []string{addrB, addrC, addrA} {
		epoch := uint64(8 + i)
		list[i].Switch(nettest.SentinelAt(address, epoch)) // one alone changes nothing
		time.Sleep(50 * time.Millisecond)
		require.NotEqual(t, address, w.last().Primary)
		begin := time.Now()
		list[(i+1)%3].Switch(nettest.SentinelAt(address, epoch))
		v := w.waitPrimary(address)
		require.Less(t, nettest.Elapsed(begin), bound(500*time.Millisecond))
		require.Equal(t, epoch, v.Epoch)
		require.False(t, v.LastEvidence.IsZero())
		list[(i+2)%3].Switch(nettest.SentinelAt(address, epoch))
	}
}

// One notification is enough even if the other Sentinels follow later and publish nothing.
func TestSentinelsThatFollowLaterAreAskedAgain(t *testing.T) {
	t.Parallel()
	list, addresses := fakes(t, 3, addrA, 7)
	w := watch(t, addresses, nil)
	w.waitPrimary(addrA)
	waitSubscribed(t, list)
	list[0].Switch(nettest.SentinelAt(addrB, 8))
	time.Sleep(300 * time.Millisecond)
	begin := time.Now()
	list[1].Set(nettest.SentinelAt(addrB, 8))
	w.waitPrimary(addrB)
	require.Less(t, nettest.Elapsed(begin), bound(500*time.Millisecond))
}

func TestSentinelIntervalSuffices(t *testing.T) {
	t.Parallel()
	list, addresses := fakes(t, 3, addrA, 7)
	for _, f := range list {
		s := nettest.SentinelAt(addrA, 7)
		s.Deny = "SUBSCRIBE"
		f.Set(s)
	}
	w := watch(t, addresses, func(o *Options) { o.Spec.Interval, o.Spec.Timeout = 50*time.Millisecond, 50*time.Millisecond })
	w.waitPrimary(addrA)
	w.wait("a problem", func(v View) bool {
		return strings.Contains(v.Problem, "no notifications: SUBSCRIBE +switch-master: server replied")
	})
	list[0].Set(nettest.SentinelAt(addrB, 8))
	list[2].Set(nettest.SentinelAt(addrB, 8))
	w.waitPrimary(addrB)
	w.wait("the subscriptions", func(v View) bool { return !strings.HasPrefix(v.Problem, list[0].Addr()) })
}

func TestSentinelQuorumIsLostAndReturns(t *testing.T) {
	t.Parallel()
	list, addresses := fakes(t, 3, addrA, 7)
	w := watch(t, addresses, func(o *Options) { o.Spec.Interval, o.Spec.Timeout = 100*time.Millisecond, 100*time.Millisecond })
	first := w.waitPrimary(addrA)
	list[0].Down()
	list[0].Reset()
	list[1].Set(nettest.SentinelState{Mute: true})
	v := w.wait("a stale view", func(v View) bool {
		return !v.Stale.IsZero() && strings.HasPrefix(v.Problem, "lost quorum: 1 of 3 Sentinels answer, want 2; ") && strings.Contains(v.Problem, "timed out")
	})
	require.Equal(t, addrA, v.Primary, "the last decision stays in force")
	require.Equal(t, first.Members, v.Members)
	require.Contains(t, v.Problem, list[0].Addr()+": connect to "+list[0].Addr()+": connection refused")
	list[2].Set(nettest.SentinelAt(addrB, 8)) // one Sentinel alone
	time.Sleep(250 * time.Millisecond)
	require.Equal(t, addrA, w.last().Primary)
	list[0].Up()
	list[0].Set(nettest.SentinelAt(addrB, 8))
	w.waitPrimary(addrB)
	w.wait("one silent Sentinel", func(v View) bool {
		return strings.HasPrefix(v.Problem, "1 of 3 Sentinels do not answer; "+list[1].Addr())
	})
	list[1].Set(nettest.SentinelAt(addrB, 8))
	w.wait("no problem", func(v View) bool { return v.Problem == "" })
}

// A subscription whose Sentinel is silent is replaced, and a change before it is noticed.
func TestSentinelDeadSubscriptionIsReplaced(t *testing.T) {
	t.Parallel()
	list, addresses := fakes(t, 1, addrA, 7)
	w := watch(t, addresses, func(o *Options) { o.Spec.Interval, o.Spec.Timeout = time.Second, 100*time.Millisecond })
	w.waitPrimary(addrA)
	waitSubscribed(t, list)
	list[0].Set(nettest.SentinelState{Mute: true})
	accepted := list[0].Accepted()
	w.wait("staleness", func(v View) bool { return !v.Stale.IsZero() })
	nettest.Wait(t, 10*time.Second, "the silent subscription to end", func() bool { return list[0].Subscribers() == 0 })
	list[0].Set(nettest.SentinelAt(addrB, 8))
	w.waitPrimary(addrB)
	waitSubscribed(t, list)
	require.Greater(t, list[0].Accepted(), accepted)
	list[0].Reset() // a Sentinel that restarts
	list[0].Set(nettest.SentinelAt(addrC, 9))
	w.waitPrimary(addrC)
	waitSubscribed(t, list)
}

// A Sentinel that answers anything else is bounded in time and memory, and named in a problem; the others decide.
func TestSentinelHostile(t *testing.T) {
	t.Parallel()
	write := func(parts ...string) nettest.Handler {
		return func(ctx context.Context, c *net.TCPConn) {
			buf := make([]byte, 1000)
			for {
				if _, err := c.Read(buf); err != nil {
					return
				}
				for _, p := range parts {
					if _, err := io.WriteString(c, p); err != nil {
						return
					}
				}
			}
		}
	}
	endless := func(text string) nettest.Handler {
		block := strings.Repeat(text, 1+65536/len(text))
		return func(ctx context.Context, c *net.TCPConn) {
			for {
				if _, err := io.WriteString(c, block); err != nil {
					return
				}
			}
		}
	}
	for name, c := range map[string]struct {
		handler nettest.Handler
		want    string
	}{
		"http":              {write("HTTP/1.1 400 Bad Request\r\n\r\n"), `not a Redis reply: expected a Redis reply, got "HTTP/1.1 400`},
		"closes":            {func(context.Context, *net.TCPConn) {}, "closed by the server"},
		"silent":            {nettest.Silent, "timed out"},
		"never reads":       {nettest.NeverRead, "timed out"},
		"endless line":      {endless("+A"), "line too long"},
		"slow array":        {write("*1000000000\r\n", "+aaaaaaaaaaaaaaaa\r\n"), "timed out"},
		"endless elements":  {nettest.Greet("*1000000000\r\n", endless(":1\r\n")), "too large"},
		"empty arrays":      {nettest.Greet("*1000000000\r\n", endless("*0\r\n")), "too large"},
		"deep arrays":       {endless("*1\r\n"), "nested too deeply"},
		"mad length":        {write("$99999999999999\r\n"), "wrong length"},
		"large text":        {write("$20000000\r\n"), "too large"},
		"negative array":    {write("*-2\r\n"), "wrong length"},
		"error in an array": {write("*1\r\n-ERR\r\n"), "error within an array"},
		"errors":            {write("-LOADING wait\r\n-LOADING wait\r\n-LOADING wait\r\n"), `server replied "LOADING wait"`},
		"needs a password":  {write("-NOAUTH Authentication required.\r\n-NOAUTH Authentication required.\r\n-NOAUTH Authentication required.\r\n"), "NOAUTH"},
		"no epoch":          {write("*2\r\n+flags\r\n+master\r\n*2\r\n+10.0.0.9\r\n+6379\r\n-ERR\r\n"), "no config-epoch in the reply"},
		"odd address":       {write("*2\r\n+config-epoch\r\n:9\r\n*2\r\n+10.0.0.9\r\n+0\r\n-ERR\r\n"), "the reply is not an address and a port"},
		"another name":      {write("-ERR No such master with that name\r\n*-1\r\n-ERR\r\n"), `it does not monitor "mymaster"`},
		"control codes":     {write(strings.Repeat("-\x1b[31m\x00\r\n", 3)), `server replied "\x1b[31m\x00"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, addresses := fakes(t, 3, addrA, 7)
			list[1].Set(nettest.SentinelState{Handler: c.handler})
			w := watch(t, addresses, func(o *Options) { o.Spec.Interval, o.Spec.Timeout = 200*time.Millisecond, 200*time.Millisecond })
			w.waitPrimary(addrA)
			v := w.wait("the problem", func(v View) bool { return strings.Contains(v.Problem, c.want) })
			require.Contains(t, v.Problem, "1 of 3 Sentinels do not answer; "+addresses[1])
			list[0].Set(nettest.SentinelAt(addrB, 8))
			list[2].Switch(nettest.SentinelAt(addrB, 8))
			w.waitPrimary(addrB)
			begin := time.Now()
			w.Close()
			require.Less(t, nettest.Elapsed(begin), bound(500*time.Millisecond))
		})
	}
}

// 10,000 announced servers are read, and MaxMembers of them are used.
func TestSentinelAnnouncesTooManyServers(t *testing.T) {
	t.Parallel()
	list, addresses := fakes(t, 3, addrA, 7)
	var replicas []string
	for i := range 10_000 {
		replicas = append(replicas, fmt.Sprintf("10.1.%d.%d 6379 slave", i/256, i%256))
	}
	list[1].Set(nettest.SentinelAt(addrA, 7, replicas...))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w := watch(t, addresses, func(o *Options) { o.Spec.Timeout = 5 * time.Second })
	v := w.wait("the problem", func(v View) bool { return v.Problem != "" })
	require.Contains(t, v.Problem, "it lists 10000 replicas; 1024 are used")
	require.Len(t, v.Members, MaxMembers)
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(8<<20))
	list[0].Switch(nettest.SentinelAt(addrB, 8))
	list[2].Switch(nettest.SentinelAt(addrB, 8))
	w.waitPrimary(addrB)
}

// A Sentinel that sends notifications without end makes the others answer at most once per quickPace.
func TestSentinelNotificationFlood(t *testing.T) {
	t.Parallel()
	list, addresses := fakes(t, 3, addrA, 7)
	w := watch(t, addresses, nil)
	w.waitPrimary(addrA)
	waitSubscribed(t, list)
	before, begin := list[1].Asked(), time.Now()
	for time.Since(begin) < 500*time.Millisecond {
		for range 100 {
			list[0].Publish("+switch-master", "mymaster 10.0.0.1 6379 10.0.0.2 6379")
		}
		time.Sleep(time.Millisecond)
	}
	asked := list[1].Asked() - before
	require.LessOrEqual(t, asked, int(time.Since(begin)/quickPace)+3)
	require.Equal(t, addrA, w.last().Primary)
	nettest.Wait(t, 10*time.Second, "the polls to end", func() bool {
		n := list[1].Asked()
		time.Sleep(5 * quickPace)
		return list[1].Asked() == n
	})
}

func TestSentinelServersAndRoles(t *testing.T) {
	t.Parallel()
	list, addresses := fakes(t, 3, addrA, 7)
	for _, f := range list {
		f.Set(nettest.SentinelAt(addrA, 7, "10.0.0.2 6379 slave", "10.0.0.3 6379 s_down,slave,disconnected"))
	}
	server := func(name, address string) Server {
		return Server{Name: name, Address: address, Addresses: []netip.AddrPort{netip.MustParseAddrPort(address)}}
	}
	w := watch(t, addresses, func(o *Options) {
		o.Spec.Interval, o.Spec.Discover = time.Second, false
		o.Servers = []Server{server("two", addrB), server("four", "10.0.0.4:6379")}
	})
	source := "sentinel: primary is 10.0.0.1:6379, epoch 7"
	v := w.wait("the roles", func(v View) bool { return len(v.Members) == 3 && v.Members[2].Role == Other })
	require.Equal(t, []Member{{"", addrA, Primary, source}, {"two", addrB, Replica, source}, {"", addrC, Other, "replica is s_down, disconnected"}}, v.Members)
	require.Equal(t, "the primary 10.0.0.1:6379 is not a server of the cluster", v.Problem)
	for _, f := range list { // the lists of before hold
		s := nettest.SentinelAt(addrA, 7)
		s.Deny = "REPLICAS"
		f.Set(s)
	}
	w.SetServers([]Server{server("one", addrA), server("two", addrB)})
	v = w.wait("the new server", func(v View) bool { return v.Members[0].Name == "one" })
	v = w.wait("the problem", func(v View) bool { return strings.Contains(v.Problem, "SENTINEL REPLICAS: server replied \"NOPERM") })
	require.Len(t, v.Members, 3)
}

func TestSentinelResetAcceptsLowerEpochs(t *testing.T) {
	t.Parallel()
	list, addresses := fakes(t, 3, addrA, 7)
	w := watch(t, addresses, nil)
	w.waitPrimary(addrA)
	for _, f := range list {
		f.Switch(nettest.SentinelAt(addrB, 0))
	}
	v := w.wait("staleness", func(v View) bool { return !v.Stale.IsZero() })
	require.Equal(t, addrA, v.Primary)
	require.Contains(t, v.Problem, "with epoch 0, and an earlier decision had epoch 7")
	w.Reset()
	v = w.waitPrimary(addrB)
	require.Zero(t, v.Fence)
	for _, v := range w.published() {
		require.NotEmpty(t, v.Primary, "there is a primary at every moment")
	}
}

func TestSentinelSavedDecision(t *testing.T) {
	t.Parallel()
	list, addresses := fakes(t, 3, addrA, 6)
	w := watch(t, addresses, func(o *Options) {
		o.Saved = Saved{Primary: addrB, Epoch: 7, At: start, Members: []SavedMember{{"two", addrB, "primary"}, {"three", addrC, "replica"}}}
	})
	w.wait("the Sentinels' lower epoch", func(v View) bool {
		return strings.Contains(v.Problem, "with epoch 6, and an earlier decision had epoch 7")
	})
	views := w.published()
	require.Equal(t, addrB, views[0].Primary)
	require.Equal(t, uint64(7), views[0].Fence)
	require.False(t, views[0].Stale.IsZero(), "not confirmed yet")
	require.Equal(t, []Member{{"two", addrB, Primary, "saved"}, {"three", addrC, Replica, "saved"}}, views[0].Members)
	require.Equal(t, start, views[0].DecidedAt)
	for _, f := range list {
		f.Switch(nettest.SentinelAt(addrC, 8))
	}
	w.waitPrimary(addrC)
}

// The servers of a saved decision stay until the Sentinels that confirm it have listed theirs, so that an upgrade takes no
// found server out.
func TestSavedReplicasStayUntilSentinelsListTheirs(t *testing.T) {
	var views []View
	w := &sentinelWatcher{
		options: Options{Spec: conf.Topology{Timeout: time.Second, Interval: time.Second, Discover: true}, Publish: func(v View) { views = append(views, v) }},
		quorum:  2, votes: make([]vote, 3), fails: make([]int, 3), listings: make([]listing, 3), stream: make([]string, 3), dirty: true,
	}
	w.restore(Saved{Primary: addrA, Epoch: 7, At: start, Members: []SavedMember{{"", addrA, "primary"}, {"", addrB, "replica"}, {"", addrC, "replica"}}}, start)
	for i := range w.votes {
		w.votes[i] = vote{sentinel: string(rune('1' + i)), state: named, target: targetOf(addrA), epoch: 7, asked: start, received: start, id: string(rune('1' + i))}
	}
	addresses := func() (list []string) {
		w.evaluate(start.Add(time.Millisecond))
		for _, m := range views[len(views)-1].Members {
			list = append(list, m.Address)
		}
		return list
	}
	require.Equal(t, []string{addrA, addrB, addrC}, addresses())
	require.True(t, views[len(views)-1].Stale.IsZero(), "the decision is confirmed")
	for i := range w.listings {
		w.listings[i], w.dirty = listing{replicas: []listedReplica{{target: targetOf(addrB)}}, received: true}, true
		want := []string{addrA, addrB, addrC}
		if i == len(w.listings)-1 {
			want = want[:2]
		}
		require.Equal(t, want, addresses(), "lists of %d Sentinels", i+1)
	}
}

// Sentinels may announce names. A name is the server that is configured by this name or by an address of it.
func TestSentinelAnnouncesNames(t *testing.T) {
	t.Parallel()
	list, addresses := fakes(t, 3, "localhost:6379", 7)
	list[2].Set(nettest.SentinelAt("127.0.0.1:6379", 7)) // another setting of announce-hostnames
	w := watch(t, addresses, func(o *Options) {
		o.Spec.Discover = false
		o.Servers = []Server{{Name: "one", Address: "127.0.0.1:6379", Addresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:6379")}}}
	})
	v := w.wait("the primary", func(v View) bool { return v.Primary != "" })
	require.Equal(t, "one", v.Members[0].Name)
	require.Empty(t, v.Problem)
	for _, f := range list {
		f.Switch(nettest.SentinelAt("redis-2.invalid:6379", 8))
	}
	v = w.wait("the name that does not resolve", func(v View) bool { return v.Primary == "redis-2.invalid:6379" })
	require.Contains(t, v.Problem, "the primary redis-2.invalid:6379 is not a server of the cluster")
	w.SetServers([]Server{{Name: "two", Address: "redis-2.invalid:6379"}})
	w.wait("the configured name", func(v View) bool { return v.Members[len(v.Members)-1].Name == "two" && v.Problem == "" })
}

func TestSentinelGivenByName(t *testing.T) {
	t.Parallel()
	list, _ := fakes(t, 1, addrA, 7)
	_, port, _ := net.SplitHostPort(list[0].Addr())
	watch(t, []string{"localhost:" + port}, nil).waitPrimary(addrA)
	w := watch(t, []string{"sentinel.invalid:" + port}, nil)
	v := w.wait("the problem", func(v View) bool { return v.Problem != "" })
	require.Regexp(t, "lost quorum: 0 of 1 Sentinels answer, want 1; sentinel.invalid:.*: connect to sentinel.invalid:.*", v.Problem)
}

func TestSentinelListedTwiceIsAProblem(t *testing.T) {
	t.Parallel()
	list, addresses := fakes(t, 2, addrA, 7)
	s := nettest.SentinelAt(addrA, 7)
	s.ID = strings.Repeat("a1", 20)
	list[0].Set(s)
	list[1].Set(s)
	w := watch(t, addresses, nil)
	v := w.wait("the problem", func(v View) bool { return strings.Contains(v.Problem, "is the same Sentinel as") })
	require.Empty(t, v.Primary)
	require.Contains(t, v.Problem, "lost quorum: 1 of 2 Sentinels answer, want 2")
}

// idle returns a watcher without goroutines, whose answers the test gives.
func idle(t *testing.T, n int) (*sentinelWatcher, *watching) {
	t.Helper()
	out := &watching{t: t}
	w := &sentinelWatcher{
		options: Options{Spec: conf.Topology{Interval: time.Second, Timeout: 500 * time.Millisecond, Master: "mymaster", Discover: true}, Publish: func(v View) {
			out.views = append(out.views, v)
		}},
		quorum: majority(n), votes: make([]vote, n), fails: make([]int, n), listings: make([]listing, n),
		stream: make([]string, n), dirty: true,
	}
	for i := range n {
		w.sentinels = append(w.sentinels, &sentinel{watcher: w, index: i, poke: make(chan struct{}, 1)})
	}
	return w, out
}

func (w *sentinelWatcher) answerAll(t target, epoch uint64, asked, now time.Time) {
	for i := range w.votes {
		w.take(answer{sentinel: i, asked: asked, received: now, target: t, epoch: epoch}, now)
	}
	w.expire(now)
	w.evaluate(now)
}

// After a pause of the process, neither an answer that arrived before it nor one that has waited in the kernel is used.
func TestSentinelAnswersOfBeforeAPauseAreNotUsed(t *testing.T) {
	t.Parallel()
	w, out := idle(t, 3)
	w.answerAll(letter('A'), 7, start, start)
	require.Equal(t, addrA, out.last().Primary)
	// One Sentinel names B; the process is stopped for nine seconds; another answer of before arrives.
	w.take(answer{sentinel: 0, asked: start.Add(time.Second), received: start.Add(time.Second), target: letter('B'), epoch: 8}, start.Add(time.Second))
	now := start.Add(10 * time.Second)
	w.take(answer{sentinel: 1, asked: start.Add(time.Second), received: now, target: letter('B'), epoch: 8}, now)
	w.expire(now)
	w.evaluate(now)
	require.Equal(t, addrA, out.last().Primary)
	require.Zero(t, out.last().Stale, "the Sentinels have not been asked yet")
	for _, s := range w.sentinels {
		require.Len(t, s.poke, 1, "they are asked at once")
	}
	w.answerAll(letter('C'), 9, now, now)
	require.Equal(t, addrC, out.last().Primary)
	require.Len(t, out.views, 2)
}

// A shortage of this host is no evidence. The last answers hold until they are too old; then the decision is stale.
func TestSentinelLocalShortageIsNoEvidence(t *testing.T) {
	t.Parallel()
	w, out := idle(t, 3)
	w.answerAll(letter('A'), 7, start, start)
	at := start
	for at.Sub(start) < 3*time.Second {
		at = at.Add(100 * time.Millisecond)
		for i := range w.votes {
			w.take(answer{sentinel: i, asked: at, err: fmt.Errorf("connect: %w", checks.ErrShortage)}, at)
		}
		w.expire(at)
		w.evaluate(at)
		require.Equal(t, at.Sub(start) > 1750*time.Millisecond, !out.last().Stale.IsZero(), "%v", at.Sub(start))
		require.Equal(t, addrA, out.last().Primary)
	}
	require.Contains(t, out.last().Problem, "local shortage")
	w.answerAll(letter('A'), 7, at, at)
	require.Zero(t, out.last().Stale)
}

// Scripted failovers: each is noticed soon after a quorum names the new primary, in any order, with lost
// notifications and a Sentinel that lies, is silent, or lags behind; and no view names an address without a quorum.
func TestSentinelScriptedFailovers(t *testing.T) {
	t.Parallel()
	const failovers = 200
	list, addresses := fakes(t, 3, "10.0.0.1:1000", 1)
	w := watch(t, addresses, func(o *Options) { o.Spec.Interval, o.Spec.Timeout = 50*time.Millisecond, 50*time.Millisecond })
	w.waitPrimary("10.0.0.1:1000")
	waitSubscribed(t, list)
	r := rand.New(rand.NewPCG(1, 2))
	var late []time.Duration
	for i := 1; i <= failovers; i++ {
		address := fmt.Sprintf("10.0.0.%d:%d", 1+i%3, 1000+i)
		order := r.Perm(3)
		state := nettest.SentinelAt(address, uint64(1+i))
		switch r.IntN(4) {
		case 0: // the third lies before and after
			list[order[2]].Switch(nettest.SentinelAt(fmt.Sprintf("10.6.6.6:%d", 1000+i), uint64(r.IntN(1_000_000))))
		case 1:
			list[order[2]].Set(nettest.SentinelState{Mute: true})
		}
		list[order[0]].Switch(state)
		begin := time.Now()
		if r.IntN(3) == 0 {
			list[order[1]].Set(state)
		} else {
			list[order[1]].Switch(state)
		}
		w.waitPrimary(address)
		late = append(late, nettest.Elapsed(begin))
		if r.IntN(2) == 0 {
			list[order[2]].Switch(state)
		} else {
			list[order[2]].Set(state)
		}
	}
	var worst, sum time.Duration
	for _, d := range late {
		worst, sum = max(worst, d), sum+d
	}
	t.Logf("%d failovers: noticed after %v on average, %v at most", failovers, sum/failovers, worst)
	require.Less(t, worst, bound(500*time.Millisecond))
	seen := map[string]bool{}
	previous := ""
	for _, v := range w.published() {
		require.NotContains(t, v.Primary, "10.6.6.6")
		if v.Primary != previous {
			require.False(t, seen[v.Primary], "back to %s", v.Primary)
			seen[v.Primary], previous = true, v.Primary
		}
	}
	require.Len(t, seen, failovers+1)
}
