package promotion_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// twoServers starts weir with servers a and b and a promoted flow to a. levels gives a's options.
func twoServers(t *testing.T, options string) (h *three, c *nettest.DatagramClient) {
	h = newThree(t, func(h *three) { h.config.Levels = levels(options) })
	h.up = filepath.Join(t.TempDir(), "up")
	require.NoError(t, os.WriteFile(h.up, nil, 0o644))
	h.config.Runtime += "\ndrain_timeout = \"200ms\""
	h.config.Checks = fmt.Sprintf("[[cluster.c.check]]\ntype = \"exec\"\ninterval = \"1s\"\nfall = 1\ncommand = [\"/bin/sh\", \"-c\", \"test $WEIR_SERVER = b || test -e %s\"]\n", h.up)
	h.config.Listener = strings.Replace(listener, `"1s"`, `"3s"`, 1)
	h.server.StartDatagrams("10.2.0.2:9000", nettest.EchoDatagram)
	h.server.StartDatagrams("10.2.0.2:9001", nettest.ReplyWithName("b"))
	h.start(weirtest.Options{})
	c = h.client.DialDatagrams("", h.config.Listen)
	promote(t, h.api, c)
	return h, c
}

func levels(options string) [][]string {
	return [][]string{{"10.2.0.2:9000 name=a " + options}, {"10.2.0.2:9001 name=b"}}
}

// reload changes the configuration.
func (h *three) reload() { h.w.Reload(h.api.AddTo(h.config.UDP(h.t).String())) }

// waitRelayed waits until weir relays the client's flow.
func (h *three) waitRelayed(c *nettest.DatagramClient) {
	h.t.Helper()
	nettest.Wait(h.t, 10*time.Second, "weir to relay the flow", func() bool { return forward(h.api, c) == "user" })
}

// A forwarded flow leaves a server that goes into maintenance, drains or was removed, and one that is ended by an operator ends.
func TestServerChanges(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*three)
	}{
		{"maintenance", func(h *three) { h.config.Levels = levels("state=maint"); h.reload() }},
		{"operator", func(h *three) { h.api.MustDo("PATCH /v1/clusters/c/servers/a", `{"state": "maint"}`) }},
		{"check", func(h *three) { require.NoError(t, os.Remove(h.up)) }},
		{"drained", func(h *three) {
			h.config.Levels = levels("state=drain")
			h.reload()
		}},
		{"removed", func(h *three) {
			h.config.Levels = levels("")[1:]
			h.reload()
		}},
		{"killed", func(h *three) {
			h.api.MustDo(fmt.Sprintf("DELETE /v1/sessions/%.0f", h.api.Sessions()[0].(map[string]any)["id"]), "")
			h.config.Levels = levels("state=maint")
			h.reload()
		}},
		{"max_flow_age", func(h *three) {
			h.config.Levels = levels("state=drain")
			h.reload()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h, c := twoServers(t, "")
			if test.name == "max_flow_age" {
				h.config.Listener += "max_flow_age = \"500ms\"\n"
				h.reload()
				c = h.client.DialDatagrams("", h.config.Listen)
				promote(t, h.api, c)
			}
			test.change(h)
			nettest.Wait(t, 10*time.Second, "the flow to have another server", func() bool { return strings.HasPrefix(c.RoundTrip("x"), "b ") })
		})
	}
}

// A reload that switches promotion off, for the listener or for the interfaces, leaves the flows to weir, and one that switches it on again
// to the kernel. No datagram is lost.
func TestReload(t *testing.T) {
	t.Parallel()
	h, c := twoServers(t, "")
	on := h.config
	for _, off := range []func(){
		func() { h.config.Listener = strings.Replace(on.Listener, `"auto"`, `"off"`, 1) },
		func() { h.config.Runtime = "" },
	} {
		off()
		h.reload()
		h.waitRelayed(c)
		for range 50 {
			require.Equal(t, "x", c.RoundTrip("x"))
		}
		require.Equal(t, "user", forward(h.api, c))
		h.config = on
		h.reload()
		c = h.client.DialDatagrams("", on.Listen)
		promote(t, h.api, c)
		requireForwardedByKernel(t, h.w, c)
	}
	require.Equal(t, 2, programs(t, h.weir))
	h.config.Runtime = ""
	h.reload()
	require.Zero(t, programs(t, h.weir))
}

// A listener that is removed keeps its flows in the kernel until the end of the drain, when they are cut.
func TestListenerRemoved(t *testing.T) {
	t.Parallel()
	h, c := twoServers(t, "")
	h.config.Listen = "10.1.0.2:5301"
	h.reload()
	require.Equal(t, "x", c.RoundTrip("x"))
	r := h.w.SessionRecord(c)
	require.Equal(t, "relay cut_listener_removed", r.Termination())
	require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
	c.Write([]byte("x"))
	_, err := c.Read(make([]byte, 99))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// After kill -9 no program is left, and clients are refused.
func TestKilled(t *testing.T) {
	t.Parallel()
	h, c := twoServers(t, "")
	h.w.Kill()
	nettest.Wait(t, 10*time.Second, "the programs to be gone", func() bool { return programs(t, h.weir) == 0 })
	c.Send([]byte("x"))
	require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err := c.Read(make([]byte, 99))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// An upgrade moves forwarded flows, and the new process lets the kernel forward them again, without the capabilities that loading needs.
// No datagram is lost, and the record is exact.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	program, err := weirtest.StaticProgram()
	require.NoError(t, err)
	dir := filepath.Join(weirtest.ShortTempDir(t), "own")
	require.NoError(t, os.Mkdir(dir, 0o777))
	require.NoError(t, os.Chmod(dir, 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	h := newThree(t, func(h *three) {
		h.api = weirtest.NewAPIAt(t, dir+"/admin.sock")
		h.config.Runtime += "\nuser = \"nobody\""
		h.config.Listener = strings.Replace(listener, `"1s"`, `"4s"`, 1)
	})
	h.server.StartDatagrams("10.2.0.2:9000", nettest.EchoDatagram)
	h.start(weirtest.Options{Program: program, File: dir + "/weir.toml"})
	c := h.client.DialDatagrams("", h.config.Listen)
	bytes := promote(t, h.api, c) * len(text(1))
	for range 2 {
		stop, done := make(chan struct{}), make(chan int)
		go func() {
			sent := 0
			defer func() { done <- sent }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				sent++
				if got := c.RoundTrip(text(sent)); got != text(sent) {
					t.Errorf("want %s, got %s", text(sent), got)
					return
				}
			}
		}()
		h.w.Upgrade()
		nettest.Wait(t, 10*time.Second, "the kernel to forward again", func() bool { return forward(h.api, c) == "kernel" })
		close(stop)
		bytes += <-done * len(text(1))
		bytes += requireForwardedByKernel(t, h.w, c) * len("while weir is stopped")
		require.Equal(t, 2, programs(t, h.weir))
		require.Equal(t, []string{"0000000000001400"}, h.w.ThreadStatus("CapPrm"), "to bind ports, and to attach the program")
	}
	r := h.w.SessionRecord(c)
	require.Equal(t, "relay flow_timeout", r.Termination())
	require.Equal(t, bytes, r.Int("bytes_up"))
	require.Equal(t, bytes, r.Int("bytes_down"))
	require.Equal(t, "3", h.api.Metric(`weir_promotions_total{reason="busy",result="promoted"}`))
	require.Equal(t, "2", h.api.Metric(`weir_promotions_total{reason="switched_off",result="demoted"}`))
}

// An upgrade that fails leaves the flows in the old process, and the kernel forwards them again.
func TestFailedUpgrade(t *testing.T) {
	t.Parallel()
	h := newThree(t, func(h *three) { h.config.Listener = strings.Replace(listener, `"1s"`, `"4s"`, 1) })
	h.server.StartDatagrams("10.2.0.2:9000", nettest.EchoDatagram)
	h.start(weirtest.Options{})
	c := h.client.DialDatagrams("", h.config.Listen)
	promote(t, h.api, c)
	h.w.WriteConfig("nonsense")
	h.w.SignalUpgrade("upgrade_failed")
	promote(t, h.api, c)
	requireForwardedByKernel(t, h.w, c)
}

// When an interface goes down and up, or disappears and comes back, flows continue as soon as there is a way, first by weir and then by
// the kernel.
func TestInterfaceChanges(t *testing.T) {
	t.Parallel()
	h := newThree(t, func(h *three) { h.config.Listener = strings.Replace(listener, `"1s"`, `"6s"`, 1) })
	h.server.StartDatagrams("10.2.0.2:9000", nettest.EchoDatagram)
	h.start(weirtest.Options{})
	c := h.client.DialDatagrams("10.1.0.1:4000", h.config.Listen)
	promote(t, h.api, c)
	h.weir.Exec("ip", "link", "set", "eth1", "down")
	require.False(t, answered(c))
	h.weir.Exec("ip", "link", "set", "eth1", "up")
	nettest.Wait(t, 10*time.Second, "an answer after the interface is up", func() bool { return answered(c) })
	discardReplies(c)
	promote(t, h.api, c)
	requireForwardedByKernel(t, h.w, c)

	h.weir.Exec("ip", "link", "del", "eth1") // with its peer
	require.False(t, answered(c))
	nettest.Wait(t, 10*time.Second, "the problem", func() bool {
		return strings.Contains(fmt.Sprint(h.api.Get("promotion", "problem")), "eth1: this host has no such network interface")
	})
	h.weir.Connect(h.server, "10.2.0.1", "10.2.0.2")
	h.server.Exec("ip", "link", "set", "eth1", "up")
	h.weir.Exec("ip", "link", "set", "eth2", "down")
	h.weir.Exec("ip", "link", "set", "eth2", "name", "eth1")
	h.weir.Exec("ip", "link", "set", "eth1", "up")
	nettest.Wait(t, 10*time.Second, "an answer over the new interface", func() bool { return answered(c) })
	discardReplies(c)
	promote(t, h.api, c)
	requireForwardedByKernel(t, h.w, c)
	require.Equal(t, 2, programs(t, h.weir))
	require.Nil(t, h.api.Get("promotion", "problem"))
}

// Datagrams that begin to leave another way are relayed, and forwarded the new way.
func TestRouteChanges(t *testing.T) {
	t.Parallel()
	h := newThree(t, func(h *three) {
		h.config.Runtime = `promote_interfaces = ["eth0", "eth1", "eth2"]`
		h.config.Levels = weirtest.OneLevel("10.9.0.1:9000")
		h.weir.Connect(h.server, "10.4.0.1", "10.4.0.2")
	})
	h.server.AddAddress("10.9.0.1")
	h.weir.Exec("ip", "route", "add", "10.9.0.1/32", "via", "10.2.0.2", "src", "10.2.0.1")
	for _, device := range []string{"all", "eth0", "eth1", "eth2"} {
		h.weir.Sysctl("ipv4/conf/"+device+"/rp_filter", "0")
	}
	for _, device := range []string{"all", "eth0", "eth1"} {
		h.server.Sysctl("ipv4/conf/"+device+"/rp_filter", "0")
	}
	h.server.StartDatagrams("10.9.0.1:9000", nettest.EchoDatagram)
	h.start(weirtest.Options{})
	c := h.client.DialDatagrams("", h.config.Listen)
	promote(t, h.api, c)
	requireForwardedByKernel(t, h.w, c)
	h.weir.Exec("ip", "route", "replace", "10.9.0.1/32", "via", "10.4.0.2", "src", "10.2.0.1")
	h.weir.Exec("ip", "link", "set", "eth1", "multicast", "off") // an event without a change of routes
	nettest.Wait(t, 10*time.Second, "weir to look at the routes", func() bool {
		require.Equal(t, "x", c.RoundTrip("x"))
		return metricValue(t, h.api, `weir_promotions_total{reason="route_changed",result="demoted"}`) > 0
	})
	promote(t, h.api, c)
	h.server.Filter("iifname eth1 udp dport 9000 counter accept")
	n := requireForwardedByKernel(t, h.w, c)
	require.Contains(t, h.server.Exec("nft", "list", "ruleset"), fmt.Sprintf("counter packets %d ", n))
}
