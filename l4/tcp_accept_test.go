package l4

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

func TestAccept(t *testing.T) {
	echo := nettest.Start(t, nettest.Echo).Addr()
	header := []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n")
	proxied := func(s *Settings) {
		s.AcceptProxy, s.TrustedProxies = true, NewAddressSet(networks("127.0.0.0/8"), false)
	}
	for _, c := range []struct {
		name   string
		adjust func(*Settings)
		send   []byte
		why    Rejection
		reason Reason // of the session that began; none for a client without a session
	}{
		{"denied", func(s *Settings) {
			s.Admission.Deny = AccessList{Addresses: NewAddressSet(networks("127.0.0.0/8"), false)}
		}, nil, RejectedDenied, ReasonNone},
		{"not allowed", func(s *Settings) {
			s.Admission.Allow = AccessList{Addresses: NewAddressSet(networks("10.0.0.0/8"), false)}
		}, nil, RejectedDenied, ReasonNone},
		{"untrusted", func(s *Settings) { s.AcceptProxy = true }, nil, RejectedUntrusted, ReasonNone},
		{"denied by header", func(s *Settings) {
			proxied(s)
			s.Admission.Deny = AccessList{Addresses: NewAddressSet(networks("192.0.2.1/32"), false)}
		}, header, RejectedDenied, ReasonDenied},
		{"no header", proxied, []byte("GET / HTTP/1.1\r\n\r\n"), Admitted, ReasonNoHeader},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startPlane(t, nil, c.adjust, echo)
			require.Equal(t, nettest.Reset, clientEnd(p.addr, c.send))
			if c.why != Admitted {
				require.EqualValues(t, 1, p.ln.Rejected()[c.why])
			}
			if c.reason != ReasonNone {
				require.Equal(t, c.reason, p.ended().Reason)
			} else {
				require.Empty(t, p.records)
			}
		})
	}
	// A client over max_sessions waits briefly for a slot, with and without a PROXY header.
	for _, c := range []struct {
		name   string
		adjust func(*Settings)
		first  []byte
	}{{"accepted", func(*Settings) {}, nil}, {"named by a header", proxied, header}} {
		t.Run("max_sessions, "+c.name, func(t *testing.T) {
			p := startPlane(t, newTestClock(), func(s *Settings) {
				c.adjust(s)
				s.Admission.MaxSessions = 1
			}, echo)
			dial := func() *net.TCPConn {
				conn := nettest.Dial(t, p.addr)
				_, err := conn.Write(append(bytes.Clone(c.first), '.'))
				require.NoError(t, err)
				return conn
			}
			waits := func() {
				nettest.Wait(t, 5*time.Second, "a client to wait", func() bool {
					if c.first == nil {
						return p.PendingClients() == 1
					}
					return p.Sessions() == 2
				})
			}
			first := dial()
			_, err := io.ReadFull(first, make([]byte, 1))
			require.NoError(t, err)
			second := dial()
			waits()
			for range pendingMinTries + 1 { // each after pendingInterval
				p.advance(pendingInterval)
			}
			require.Zero(t, p.ln.Rejected()[RejectedMaxSessions], "rejected before pendingTimeout")
			nettest.Close(first)
			p.waitEnd()
			p.advance(pendingInterval)
			_, err = io.ReadFull(second, make([]byte, 1))
			require.NoError(t, err, "the slot that came free is taken")
			third := dial()
			waits()
			for range pendingMinTries + 1 {
				p.advance(2 * pendingTimeout)
			}
			_, end := nettest.ReadToEnd(third, 5*time.Second)
			require.Equal(t, nettest.Reset, end)
			require.EqualValues(t, 1, p.ln.Rejected()[RejectedMaxSessions])
		})
	}
}
