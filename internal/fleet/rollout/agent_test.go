package rollout

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/fleet"
	"weir/internal/fleet/fleettest"
)

// testNode is a node with its own connection to the store.
type testNode struct {
	client *fleettest.Client
	agent  *Agent
	stop   func()

	mu      sync.Mutex
	runs    int
	text    string
	figures Figures
	ended   []Phase
}

// startNode starts a node whose configuration is bad if its text says so. runs is the revision that it knows, with a text.
func startNode(t *testing.T, server *fleettest.Server, name string, runs ...string) *testNode {
	n := &testNode{client: server.Client(), runs: len(runs), text: strings.Join(runs, "")}
	ctx, cancel := context.WithCancel(t.Context())
	n.agent = NewAgent(Options{
		Node: name, Instance: rand.Text(), Store: n.client, TTL: 10 * time.Second, Log: slog.New(slog.DiscardHandler),
		Runs: n.runs, Text: []byte(n.text),
		Validate: func(_ context.Context, revision int, text []byte) (string, error) {
			if strings.Contains(string(text), "invalid on "+name) {
				return "", fmt.Errorf("revision %d, line 1: invalid", revision)
			}
			return "1 change", nil
		},
		Apply: func(_ context.Context, revision int, text []byte) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.runs, n.text = revision, string(text)
			return nil
		},
		Figures: func(bool) Figures {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.figures.Sessions++
			if n.text == "breaks" {
				n.figures.Problems = []string{"redis: no eligible server"}
			} else {
				n.figures.Problems = nil
			}
			return n.figures
		},
		Ended: func(r *Record) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.ended = append(n.ended, r.Phase)
		},
	})
	var work sync.WaitGroup
	work.Go(func() { n.agent.Run(ctx) })
	n.stop = func() { cancel(); work.Wait() }
	t.Cleanup(n.stop)
	return n
}

// waitNodes waits until every node knows all of them.
func waitNodes(t *testing.T, nodes ...*testNode) {
	for _, n := range nodes {
		require.Eventually(t, func() bool { return len(n.agent.Status().Nodes) == len(nodes) }, 30*time.Second, 10*time.Millisecond)
	}
}

// runsText reports what the node runs.
func (n *testNode) runsText() (int, string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.runs, n.text
}

// finish waits for the end of a roll-out and until all nodes run the revision in force.
func finish(t *testing.T, id uint64, nodes ...*testNode) *Record {
	var last *Record
	require.Eventually(t, func() bool {
		for _, n := range nodes {
			last = n.agent.Status().Record
			if last == nil || last.ID != id || last.Phase.Active() {
				return false
			}
			if runs, _ := n.runsText(); runs != last.Current() {
				return false
			}
		}
		return true
	}, 60*time.Second, 10*time.Millisecond, "record: %+v", last)
	return last
}

func TestAgentsRollOutRevisions(t *testing.T) {
	server := fleettest.New()
	a, b, c := startNode(t, server, "a"), startNode(t, server, "b"), startNode(t, server, "c")
	waitNodes(t, a, b, c)
	begin := func(n *testNode, text string) *Record {
		var r *Record
		require.Eventually(t, func() bool {
			var err error
			r, err = n.agent.Begin(t.Context(), Request{By: "ann", Canaries: 1, Pause: 500 * time.Millisecond}, []byte(text))
			return err == nil
		}, 30*time.Second, 10*time.Millisecond)
		return r
	}
	end := finish(t, begin(a, "good").ID, a, b, c)
	require.Equal(t, Done, end.Phase, end.Reason)
	_, text := c.runsText()
	require.Equal(t, "good", text)
	require.Equal(t, []Phase{Done}, b.ended)

	end = finish(t, begin(b, "invalid on c").ID, a, b, c)
	require.Equal(t, "c: revision 2, line 1: invalid", end.Reason.String())
	require.Equal(t, Refused, end.Phase)

	end = finish(t, begin(c, "breaks").ID, a, b, c)
	require.Equal(t, "a: new problem: redis: no eligible server", end.Reason.String())
	require.Equal(t, 1, end.Current())

	end = finish(t, begin(a, "better").ID, a, b, c)
	require.Equal(t, 4, end.Current())
	r, err := b.agent.Undo(t.Context(), Request{By: "bob"})
	require.NoError(t, err)
	end = finish(t, r.ID, a, b, c)
	require.Equal(t, 1, end.Current(), end.Reason)

	for range 12 {
		finish(t, begin(a, "invalid on a").ID, a, b, c)
	}
	snapshot, err := a.client.Load(t.Context())
	require.NoError(t, err)
	revisions := 0
	for _, r := range snapshot.Records {
		if _, ok := revisionOf(r.Key); ok {
			revisions++
		}
	}
	require.LessOrEqual(t, revisions, MaxHistory+2)

	r, err = a.agent.Clear(t.Context(), Request{By: "ann"})
	require.NoError(t, err)
	end = finish(t, r.ID, a, b, c)
	require.Equal(t, Done, end.Phase, end.Reason)
	require.Zero(t, end.Current())
	snapshot, err = a.client.Load(t.Context())
	require.NoError(t, err)
	for _, r := range snapshot.Records {
		_, isRevision := revisionOf(r.Key)
		require.False(t, isRevision, r.Key)
	}
	_, err = b.agent.Undo(t.Context(), Request{By: "bob"})
	require.ErrorIs(t, err, ErrNoPrevious)

	c.client.Cut(true)
	require.Eventually(t, func() bool {
		_, err := c.agent.Begin(t.Context(), Request{By: "ann"}, nil)
		return err != nil && strings.Contains(err.Error(), ErrAway.Error())
	}, 30*time.Second, 10*time.Millisecond)
}

func TestAgentsFillAStoreThatHasLostItsData(t *testing.T) {
	server := fleettest.New()
	a, b := startNode(t, server, "a"), startNode(t, server, "b")
	waitNodes(t, a, b)
	var r *Record
	require.Eventually(t, func() bool {
		var err error
		r, err = a.agent.Begin(t.Context(), Request{By: "ann"}, []byte("good"))
		return err == nil
	}, 30*time.Second, 10*time.Millisecond)
	finish(t, r.ID, a, b)
	server.Remove(RevisionKey(1))
	server.Remove(fleet.RolloutKey) // last: without it, the nodes write both again
	require.Eventually(t, func() bool {
		found := 0
		for _, r := range server.Records() {
			if r.Key == fleet.RolloutKey || r.Key == RevisionKey(1) {
				found++
			}
		}
		return found == 2
	}, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, r.ID, finish(t, r.ID, a, b).ID)
	_, text := b.runsText()
	require.Equal(t, "good", text)

	c := startNode(t, server, "c", "text of another history")
	finish(t, r.ID, a, b, c)
	require.Eventually(t, func() bool { _, text := c.runsText(); return text == "good" }, 30*time.Second, 10*time.Millisecond)

	second := startNode(t, server, "b") // with another instance
	require.Eventually(t, func() bool { return second.agent.Status().NameUsed }, 30*time.Second, 10*time.Millisecond)
	require.Len(t, a.agent.Status().Nodes, 3)
}
