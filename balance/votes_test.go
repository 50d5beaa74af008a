package balance

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The truth table of Votes.areMajority, against counting by hand.
func TestMajorityOfVotes(t *testing.T) {
	for nodes := range 7 {
		for down := range nodes + 1 {
			for _, own := range []bool{false, true} {
				finders := down
				if own {
					finders++
				}
				require.Equal(t, finders > nodes+1-finders, Votes{Nodes: nodes, Down: down}.areMajority(own), "%d of %d others, own %v", down, nodes, own)
			}
		}
	}
}

// votesFor returns votes about one server.
func votesFor(server string, v Votes) func(string) Votes {
	return func(name string) Votes {
		if name == server {
			return v
		}
		return Votes{Nodes: v.Nodes}
	}
}

func TestServerThatOneNodeFindsDown(t *testing.T) {
	var events []string
	c := New(Spec{Name: "c", Levels: []LevelSpec{{Servers: []ServerSpec{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}}}}}, 1, func(e Event) {
		events = append(events, fmt.Sprintf("%s %s %s→%s by %s", e.Kind, e.Server, e.From, e.To, e.Layer))
	})
	c.SetVotes(votesFor("a", Votes{Nodes: 2}), 0, 1)
	c.SetVerdict("a", "tcp", Down, "refused", 2)
	a := c.Server("a")
	require.Equal(t, Failing, a.State())
	require.False(t, a.OutOfService(), "its sessions continue")
	require.Equal(t, []string{"a"}, c.FoundDown())
	require.Equal(t, map[string]string{"a": "1 of 3 nodes finds it down: this one"}, c.SplitVotes())
	for range 4 {
		lease, err := c.Pick(3, &Attempts{})
		require.NoError(t, err)
		require.Equal(t, "b", lease.Server().Name())
		lease.Done(3)
	}
	c.SetVotes(votesFor("a", Votes{Nodes: 2, Down: 1, Who: "n2"}), 0, 4)
	require.Equal(t, Down, a.State())
	require.True(t, a.OutOfService())
	c.SetVerdict("a", "tcp", Up, "", 5)
	require.Equal(t, Up, a.State(), "only one of three is left")
	require.Empty(t, c.FoundDown())
	c.SetVotes(votesFor("a", Votes{Nodes: 2, Down: 2, Who: "n2, n3"}), 0, 6)
	require.Equal(t, Down, a.State())
	c.SetVotes(votesFor("a", Votes{}), 0, 7)
	require.Equal(t, Up, a.State())
	require.Equal(t, []string{"server_down a up→failing by fleet", "server_state a failing→down by checks", "server_up a down→up by checks",
		"server_down a up→down by fleet", "server_up a down→up by fleet"}, events)
}

// Votes end at their time without another call than Tick; then the verdict of the instance decides.
func TestVotesEnd(t *testing.T) {
	c := New(Spec{Levels: []LevelSpec{{Servers: []ServerSpec{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}}}}}, 1, nil)
	c.SetVerdict("a", "tcp", Down, "refused", 1)
	c.SetVotes(func(string) Votes { return Votes{Nodes: 2} }, 10*time.Second, 1)
	c.Tick(10*time.Second - 1)
	require.Equal(t, Failing, c.Server("a").State())
	c.Tick(10 * time.Second)
	require.Equal(t, Down, c.Server("a").State())
	c.SetVotes(func(string) Votes { return Votes{Nodes: 2, Down: 2} }, 20*time.Second, 10*time.Second)
	require.Equal(t, Down, c.Server("b").State())
	c.Tick(20 * time.Second)
	require.Equal(t, Up, c.Server("b").State())
}

// A node that finds every server down, and no other node does, serves as a protected cluster does.
func TestCutOffNodeIsProtected(t *testing.T) {
	c := New(Spec{Protected: true, Levels: []LevelSpec{{Servers: []ServerSpec{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}}}}}, 1, nil)
	c.SetVotes(func(string) Votes { return Votes{Nodes: 2} }, 0, 1)
	c.SetVerdict("a", "tcp", Down, "refused", 2*time.Second)
	c.SetVerdict("b", "tcp", Down, "refused", 4*time.Second)
	require.Equal(t, Failing, c.Server("a").State())
	require.Equal(t, Unstable, c.Server("b").State())
	c.SetVerdict("a", "tcp", Up, "", 6*time.Second)
	require.Equal(t, Up, c.Server("a").State())
	require.Equal(t, Failing, c.Server("b").State())
}
