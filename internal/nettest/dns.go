package nettest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// DNS is a real DNS server, dnsmasq, that knows the address of one name, weir.test. It rejects other queries.
type DNS struct {
	t      testing.TB
	addr   string
	answer string
	p      *program
}

// StartDNS runs a DNS server at an address, UDP and TCP, until the test ends.
func StartDNS(t testing.TB, addr, answer string) *DNS {
	t.Helper()
	d := &DNS{t: t, addr: addr, answer: answer}
	d.Up()
	return d
}

// Addr returns the server's address.
func (d *DNS) Addr() string { return d.addr }

// Up restarts the server after Kill.
func (d *DNS) Up() {
	d.t.Helper()
	ip, port, _ := net.SplitHostPort(d.addr)
	d.p = startProgram(d.t, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--no-resolv", "--no-hosts",
		"--bind-interfaces", "--listen-address="+ip, "--port="+port, "--address=/weir.test/"+d.answer, "--log-facility=/dev/null")
	d.p.waitReady(d.t, 30*time.Second, func() bool {
		c, err := TryDialDatagrams("", d.addr)
		if err != nil {
			return false
		}
		defer c.Close()
		got, err := QueryDNS(c, 1, 100*time.Millisecond)
		return err == nil && got == d.answer
	})
}

// Kill ends the server with SIGKILL and returns when it has ended.
func (d *DNS) Kill() { d.p.kill() }

// QueryDNS sends a query for the address of weir.test over UDP or TCP and returns the answer. Responses to other IDs are skipped:
// they are late ones to earlier queries.
func QueryDNS(c net.Conn, id uint16, within time.Duration) (string, error) {
	q := binary.BigEndian.AppendUint16(nil, id)
	q = append(q, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	q = append(q, "\x04weir\x04test\x00\x00\x01\x00\x01"...)
	datagrams := c.LocalAddr().Network() == "udp"
	message := q
	if !datagrams {
		message = append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)
	}
	c.SetDeadline(time.Now().Add(within))
	if _, err := c.Write(message); err != nil {
		return "", err
	}
	for {
		b, err := readDNS(c, datagrams)
		switch {
		case err != nil:
			return "", err
		case len(b) > 2 && binary.BigEndian.Uint16(b) != id:
		case len(b) < len(q)+4 || !bytes.Equal(b[12:len(q)], q[12:]):
			return "", fmt.Errorf("a response to something else: %x", b)
		default:
			return net.IP(b[len(b)-4:]).String(), nil
		}
	}
}

// readDNS reads one message.
func readDNS(c net.Conn, datagram bool) ([]byte, error) {
	b := make([]byte, 512)
	if datagram {
		n, err := c.Read(b)
		return b[:n], err
	}
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > len(b) {
		return nil, fmt.Errorf("a response of %d bytes", n)
	}
	_, err := io.ReadFull(c, b[:n])
	return b[:n], err
}
