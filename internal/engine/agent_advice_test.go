package engine_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
)

// agentHost is an agent with a settable reply, and its check.
type agentHost struct {
	*nettest.Host
	line atomic.Value
	told atomic.Int64
}

func startAgent(t *testing.T, line string) *agentHost {
	a := &agentHost{}
	a.line.Store(line)
	a.Host = nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
		nettest.SendText(a.line.Load().(string)+"\n")(ctx, c)
		a.told.Add(1)
	})
	return a
}

// reply changes the reply and waits until it has been read.
func (a *agentHost) reply(t *testing.T, line string) {
	t.Helper()
	a.line.Store(line)
	a.told.Store(0)
	nettest.Wait(t, 5*time.Second, "the agent to be asked", func() bool { return a.told.Load() >= 3 })
}

// check returns an agent check of all servers, or of a list.
func (a *agentHost) check(more string) string {
	return fmt.Sprintf("[[cluster.c.check]]\ntype = \"agent\"\nport = %d\ninterval = \"20ms\"\ntimeout = \"20ms\"\n%s\n", a.AddrPort().Port(), more)
}

// state returns the state of a server and the layer that decides it.
func (s *script) state(server string) string {
	s.t.Helper()
	x, err := s.e.Explain("c", server)
	require.NoError(s.t, err)
	for _, l := range x.Layers {
		if l.Decides {
			return x.State + " by " + l.Layer
		}
	}
	return x.State
}

// An agent cannot override an operator or the file. Both override its maint and drain.
func TestOverrideBeatsAgent(t *testing.T) {
	t.Parallel()
	agent := startAgent(t, "ready up")
	_, a := startNamed(t, "A")
	_, b := startNamed(t, "B")
	s := startScript(t, cluster("", a+", "+b)+agent.check(`servers = ["A"]`))
	override := func(text string) {
		t.Helper()
		require.NoError(t, s.e.Override("user test", "c", "A", []byte(text)))
	}
	for _, state := range []string{"maint", "drain"} {
		override(fmt.Sprintf(`{"state": %q}`, state))
		agent.reply(t, "ready up 100%")
		require.Equal(t, state+" by override", s.state("A"))
		override(`{"state": null}`)
		agent.reply(t, state)
		require.Equal(t, state+" by agent", s.state("A"))
		override(`{"state": "ready"}`)
		require.Equal(t, "up", s.state("A"))
		agent.reply(t, "down")
		require.Equal(t, "down by agent", s.state("A"), "ready lifts no verdict")
		override(`{"state": null}`)
		agent.reply(t, "ready up")
		require.Equal(t, "up", s.state("A"))
	}
	override(`{"weight": 7}`)
	agent.reply(t, "weight:3")
	x, err := s.e.Explain("c", "A")
	require.NoError(t, err)
	require.Equal(t, 7, x.Weight)
	override(`{"weight": null}`)
	x, err = s.e.Explain("c", "A")
	require.NoError(t, err)
	require.Equal(t, 3, x.Weight)
}

// After an address change, a server keeps the weight of its agent but not the health.
func TestAgentAdviceAfterAddressChange(t *testing.T) {
	t.Parallel()
	agent := startAgent(t, "down 30% drain")
	a, _ := startNamed(t, "A")
	other, _ := startNamed(t, "a")
	_, b := startNamed(t, "B")
	text := func(at *nettest.Host) string {
		return cluster("", at.Addr()+" name=A weight=10, "+b) + agent.check(`servers = ["A"]`)
	}
	s := startScript(t, text(a))
	agent.reply(t, "down 30% drain")
	require.Equal(t, "drain by agent", s.state("A"))
	agent.Down()
	s.reload(text(other))
	require.Equal(t, "up", s.state("A"))
	x, err := s.e.Explain("c", "A")
	require.NoError(t, err)
	require.Equal(t, 3, x.Weight)
	agent.Up()
	agent.reply(t, "up") // advice for the old address does not return with the first reply
	require.Equal(t, "up", s.state("A"))
}

// A server added at run time gets an agent check. Its advice leaves with the server.
func TestAgentOfAddedServer(t *testing.T) {
	t.Parallel()
	agent := startAgent(t, "drain")
	_, a := startNamed(t, "A")
	added, _ := startNamed(t, "B")
	s := startScript(t, cluster("", a)+agent.check(""))
	name, err := s.e.AddServer(status.RuntimeChange{}, "c", fmt.Appendf(nil, `{"address": %q, "name": "B"}`, added.Addr()))
	require.NoError(t, err)
	nettest.Wait(t, 5*time.Second, "the agent to be heard", func() bool { return s.state(name) == "drain by agent" && s.state("A") == "drain by agent" })
	agent.Down()
	require.NoError(t, s.e.RemoveServer(status.RuntimeChange{}, "c", name))
	_, err = s.e.AddServer(status.RuntimeChange{}, "c", fmt.Appendf(nil, `{"address": %q, "name": "B"}`, added.Addr()))
	require.NoError(t, err)
	require.Equal(t, "up", s.state(name))
	require.Equal(t, "drain by agent", s.state("A"))
}

// Results race with reloads. The verdict of a removed check does not stay.
func TestCheckResultsDuringReloads(t *testing.T) {
	t.Parallel()
	agent := startAgent(t, "down")
	_, a := startNamed(t, "A")
	_, b := startNamed(t, "B")
	gone := nettest.Reserve(t)
	without := cluster("protected = false", a+", "+b+", "+gone+" name=C")
	with := without + agent.check(`servers = ["A"]`) + "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"1ms\"\ntimeout = \"1ms\"\nfall = 1\nservers = [\"C\"]\n"
	with = strings.ReplaceAll(with, `"20ms"`, `"1ms"`)
	s := startScript(t, without)
	var busy sync.WaitGroup
	for range 100 {
		s.reload(with)
		busy.Go(func() { s.e.Status() })
		nettest.Wait(t, 5*time.Second, "a verdict", func() bool { return s.state("C") == "down by checks" })
		s.reload(without)
		require.Equal(t, "up", s.state("A"))
		require.Equal(t, "up", s.state("C"))
	}
	busy.Wait()
}
