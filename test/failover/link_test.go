package failover_test

import (
	"context"
	"io"
	"net"
	"testing"

	"weir/internal/nettest"
)

// link is a way to an address that no one else uses, and that a packet filter can cut.
type link struct {
	host *nettest.Host
}

// startLink starts a link to an address.
func startLink(t *testing.T, to string) *link {
	t.Helper()
	return &link{nettest.Start(t, func(ctx context.Context, client *net.TCPConn) {
		var d net.Dialer
		server, err := d.DialContext(ctx, "tcp", to)
		if err != nil {
			return
		}
		stop := context.AfterFunc(ctx, func() { server.Close() })
		defer stop()
		done := make(chan struct{})
		go func() {
			defer close(done)
			io.Copy(client, server)
			client.Close()
		}()
		io.Copy(server, client)
		server.Close()
		<-done
	})}
}

// cut drops all packets on links until restore. Connections stay open, and new ones are neither accepted nor refused.
func cut(t *testing.T, links ...*link) {
	t.Helper()
	for _, l := range links {
		nettest.CurrentNamespace(t).DropAll(l.host.AddrPort().Port())
	}
}

// restore restores all links.
func restore(t *testing.T) {
	t.Helper()
	nettest.CurrentNamespace(t).ClearFilter()
}
