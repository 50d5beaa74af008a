package limits

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/fleet"
	"weir/internal/fleet/fleettest"
)

// keptNode is a node with a Keeper and a made-up engine.
type keptNode struct {
	*Keeper
	client *fleettest.Client
	stop   func()

	mu       sync.Mutex
	demand   int
	sessions int
	allowed  map[string]Allowed
	deadline time.Duration
	events   []Event
	claimed  bool
}

func (n *keptNode) usage() map[string]Usage {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a := n.allowed[serverKey]; a.End {
		n.sessions = min(n.sessions, a.Part)
	}
	n.sessions = max(min(n.sessions, n.demand), min(n.demand, n.allowed[serverKey].Part))
	return map[string]Usage{serverKey: {Limit: 100, InUse: n.sessions, Peak: n.sessions, Refused: n.demand > n.sessions}}
}

func (n *keptNode) set(demand int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.demand = demand
}

func (n *keptNode) part() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.allowed[serverKey].Part
}

func (n *keptNode) inUse() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sessions
}

func keep(t *testing.T, store *fleettest.Server, began time.Time, name string, saved json.RawMessage) *keptNode {
	n := &keptNode{client: store.Client(), claimed: true}
	n.Keeper = NewKeeper(KeeperOptions{
		Node: name, Prefix: "/weir", Reserve: time.Minute, Store: n.client, Boot: "boot", Saved: saved, Log: slog.New(slog.DiscardHandler),
		Clock:   func() time.Duration { return time.Since(began) + time.Hour },
		Claimed: func() bool { n.mu.Lock(); defer n.mu.Unlock(); return n.claimed },
		Usage:   n.usage,
		Apply: func(allowed map[string]Allowed, deadline time.Duration) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.allowed, n.deadline = maps.Clone(allowed), deadline
		},
		Changed: func(e Event) { n.mu.Lock(); defer n.mu.Unlock(); n.events = append(n.events, e) },
	})
	store.WriteLeased(fleet.Key(fleet.NodesKey, name), `{"v":1}`)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	n.stop = func() { cancel(); <-done }
	return n
}

// bubble runs a test with three nodes whose parts are equal, in simulated time.
func bubble(t *testing.T, f func(store *fleettest.Server, began time.Time, nodes []*keptNode)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store, began := fleettest.New(), time.Now()
		var nodes []*keptNode
		for i := range 3 {
			nodes = append(nodes, keep(t, store, began, fmt.Sprint("n", i), nil))
		}
		defer func() {
			for _, n := range nodes {
				n.stop()
			}
		}()
		time.Sleep(6 * time.Second)
		require.ElementsMatch(t, []int{34, 33, 33}, []int{nodes[0].part(), nodes[1].part(), nodes[2].part()})
		f(store, began, nodes)
	})
}

func TestKeeperFollowsDemand(t *testing.T) {
	bubble(t, func(store *fleettest.Server, _ time.Time, nodes []*keptNode) {
		nodes[1].set(90)
		time.Sleep(2 * time.Second)
		require.GreaterOrEqual(t, nodes[1].part(), 90)
		list, connected := nodes[1].Status()
		require.True(t, connected)
		require.Equal(t, 100, list[serverKey].Limit)
		require.Empty(t, list[serverKey].Reserved)
	})
}

func TestKeeperWithoutStore(t *testing.T) {
	bubble(t, func(store *fleettest.Server, began time.Time, nodes []*keptNode) {
		nodes[0].set(100)
		time.Sleep(2 * time.Second)
		part := nodes[0].part()
		nodes[0].client.Cut(true)
		store.Remove(fleet.Key(fleet.NodesKey, "n0"))
		time.Sleep(30 * time.Second)
		require.Equal(t, part, nodes[0].part())
		list, connected := nodes[1].Status()
		require.True(t, connected)
		require.Equal(t, map[string]int{"n0": part}, list[serverKey].Reserved)
		time.Sleep(24 * time.Second)
		require.Zero(t, nodes[0].part())
		require.Zero(t, nodes[0].inUse())
		nodes[1].set(100)
		time.Sleep(10 * time.Second)
		require.GreaterOrEqual(t, nodes[1].part(), 80)
		nodes[1].stop()
		require.Equal(t, []Event{{"n0", goneSilent}}, nodes[1].events)
		nodes[1] = keep(t, store, began, "n1", nil)
		nodes[0].client.Cut(false)
		store.WriteLeased(fleet.Key(fleet.NodesKey, "n0"), `{"v":1}`)
		nodes[1].set(0)
		time.Sleep(5 * time.Second)
		require.NotZero(t, nodes[0].part())
	})
}

func TestKeeperForgets(t *testing.T) {
	bubble(t, func(store *fleettest.Server, _ time.Time, nodes []*keptNode) {
		nodes[0].stop()
		store.Remove(fleet.Key(fleet.NodesKey, "n0"))
		require.ErrorIs(t, nodes[1].Forget(context.Background(), "n9"), ErrUnknownNode)
		require.ErrorIs(t, nodes[1].Forget(context.Background(), "n1"), ErrUnknownNode)
		require.NoError(t, nodes[1].Forget(context.Background(), "n0"))
		nodes[1].set(100)
		time.Sleep(3 * time.Second)
		require.GreaterOrEqual(t, nodes[1].part(), 80)
	})
}

// TestKeeperContinuesAfterUpgrade: a later process has the parts at once, also without the store.
func TestKeeperContinuesAfterUpgrade(t *testing.T) {
	bubble(t, func(store *fleettest.Server, began time.Time, nodes []*keptNode) {
		nodes[0].set(70)
		time.Sleep(2 * time.Second)
		require.Nil(t, nodes[0].Save(), "not while it changes parts")
		nodes[0].Freeze(true)
		saved := nodes[0].Save()
		nodes[0].stop()
		part := nodes[0].part()
		nodes[0] = keep(t, store, began, "n0", saved)
		nodes[0].client.Cut(true)
		time.Sleep(2 * tick)
		require.Equal(t, part, nodes[0].part())
		nodes[0].client.Cut(false)
		time.Sleep(2 * time.Second)
		require.Equal(t, part, nodes[0].part())
		nodes[0].set(0)
		nodes[1].set(100)
		time.Sleep(3 * time.Second)
		require.GreaterOrEqual(t, nodes[1].part(), 90)
		nodes[0].stop()
		nodes[0] = keep(t, store, began, "other", saved)
		time.Sleep(tick)
		require.Zero(t, nodes[0].part(), "of another node")
	})
}

// TestKeeperWithoutName: a process that does not have the name of the node uses nothing.
func TestKeeperWithoutName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := fleettest.New()
		n := keep(t, store, time.Now(), "n0", nil)
		n.mu.Lock()
		n.claimed = false
		n.mu.Unlock()
		time.Sleep(time.Minute)
		require.Zero(t, n.part())
		n.stop()
		for _, r := range store.Records() {
			require.NotContains(t, r.Key, fleet.LimitsKey)
		}
	})
}

// A store that does not answer does not delay the end of a keeper.
func TestKeeperEndsWithSilentStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := fleettest.New()
		n := keep(t, store, time.Now(), "n0", nil)
		time.Sleep(10 * time.Second)
		silent := silentStore{n.client, make(chan struct{})}
		n.stop()
		n.o.Store = silent
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); n.Run(ctx) }()
		<-silent.asked
		began := time.Now()
		cancel()
		<-done
		require.LessOrEqual(t, time.Since(began), leaveTime)
	})
}

// silentStore answers no commit.
type silentStore struct {
	*fleettest.Client
	asked chan struct{}
}

func (s silentStore) Commit(ctx context.Context, _ fleet.Txn) (int64, error) {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return 0, ctx.Err()
}
