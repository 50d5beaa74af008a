package promotion_test

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// three are a client, weir and a server in network namespaces of their own, joined by veth pairs.
type three struct {
	t                    *testing.T
	client, weir, server *nettest.Namespace
	config               weirtest.Config
	up                   string // a file whose removal takes server a down
	w                    *weirtest.Weir
	api                  weirtest.API
}

// newThree starts weir with a flow that the kernel forwards after a few datagrams. adjust changes the configuration.
func newThree(t *testing.T, adjust func(*three)) *three {
	h := &three{t: t, client: nettest.NewNamespace(t), weir: nettest.NewNamespace(t), server: nettest.NewNamespace(t), api: weirtest.NewAPI(t)}
	for _, ip := range []string{"10.%d.0.%d", "fd0%d::%d"} {
		if strings.HasPrefix(ip, "10") {
			h.client.Connect(h.weir, fmt.Sprintf(ip, 1, 1), fmt.Sprintf(ip, 1, 2))
			h.weir.Connect(h.server, fmt.Sprintf(ip, 2, 1), fmt.Sprintf(ip, 2, 2))
			continue
		}
		for _, a := range []struct {
			ns     *nettest.Namespace
			device string
			net    int
			host   int
		}{{h.client, "eth0", 1, 1}, {h.weir, "eth0", 1, 2}, {h.weir, "eth1", 2, 1}, {h.server, "eth0", 2, 2}} {
			a.ns.Exec("ip", "address", "add", fmt.Sprintf(ip, a.net, a.host)+"/64", "dev", a.device, "nodad")
		}
	}
	h.config = weirtest.Config{
		Listen: "10.1.0.2:5300", Runtime: "promote_interfaces = [\"eth0\", \"eth1\"]", Levels: weirtest.OneLevel("10.2.0.2:9000 name=a"),
		Listener: listener,
	}
	if adjust != nil {
		adjust(h)
	}
	return h
}

const listener = "promote = \"auto\"\npromote_after = { requests = 8, age = \"0s\" }\nflow_timeout = \"1s\"\nprotocol = \"udp\"\n"

func (h *three) start(o weirtest.Options) {
	o.Namespace = h.weir
	h.w = o.Start(h.t, h.api.AddTo(h.config.UDP(h.t).String()))
	h.w.Baseline["socket"]++ // to ask for routes
}

// promote makes round trips until the kernel forwards the client's flow. The server echoes.
func promote(t *testing.T, api weirtest.API, c *nettest.DatagramClient) (trips int) {
	t.Helper()
	nettest.Wait(t, 20*time.Second, "the kernel to forward the flow", func() bool {
		for range 8 {
			trips++
			require.Equal(t, text(trips), c.RoundTrip(text(trips)))
		}
		return forward(api, c) == "kernel"
	})
	return trips
}

func text(n int) string { return fmt.Sprintf("datagram %06d", n) }

// answered reports whether a datagram is answered soon.
func answered(c *nettest.DatagramClient) bool {
	c.Write([]byte("x"))
	_, ok := c.Receive(200 * time.Millisecond)
	return ok
}

// discardReplies receives what is still on its way.
func discardReplies(c *nettest.DatagramClient) {
	for ok := true; ok; {
		_, ok = c.Receive(300 * time.Millisecond)
	}
}

// forward returns what forwards the client's flow: user, kernel, or "" if there is no flow.
func forward(api weirtest.API, c *nettest.DatagramClient) string {
	for _, s := range api.Sessions() {
		if r := weirtest.Record(s.(map[string]any)); r.Text("client") == c.LocalAddr().String() {
			return r.Text("forward")
		}
	}
	return ""
}

// requireForwardedByKernel makes 20 round trips while weir is stopped. weir may be stopped while it looks at a change of routes: then
// the first datagram waits until it continues. It returns how many datagrams were answered.
func requireForwardedByKernel(t *testing.T, w *weirtest.Weir, c *nettest.DatagramClient) (trips int) {
	t.Helper()
	ask := []byte("while weir is stopped")
	for tries := 0; ; tries++ {
		w.Signal(syscall.SIGSTOP)
		c.Send(ask)
		trips++
		if _, ok := c.Receive(weirtest.Bound(time.Second)); ok {
			break
		}
		w.Signal(syscall.SIGCONT)
		require.Less(t, tries, 5, "the kernel does not forward")
		discardReplies(c)
	}
	defer w.Signal(syscall.SIGCONT)
	for range 19 {
		require.Equal(t, string(ask), c.RoundTrip(string(ask)))
		trips++
	}
	return trips
}

// programs returns how many programs are attached in a namespace.
func programs(t *testing.T, ns *nettest.Namespace) (n int) {
	t.Helper()
	ns.Do(func() {
		all, err := net.Interfaces()
		require.NoError(t, err)
		for _, i := range all {
			found, err := link.QueryPrograms(link.QueryOptions{Target: i.Index, Attach: ebpf.AttachTCXIngress})
			require.NoError(t, err)
			n += len(found.Programs)
		}
	})
	return n
}
