package soak

// UDP: echo servers, and clients with numbered datagrams.

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// udpServer echoes datagrams.
type udpServer struct {
	address string

	mu   sync.Mutex
	conn *net.UDPConn // nil = killed
	work sync.WaitGroup
}

func (s *udpServer) start() error {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s.address)))
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.conn = conn
	s.mu.Unlock()
	s.work.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
			}
		}
	})
	return nil
}

func (s *udpServer) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

func (s *udpServer) stop() {
	s.kill()
	s.work.Wait()
}

func (s *udpServer) sessions() int { return 0 }

// replyTimeout is how long a reply may take.
const replyTimeout = 5*time.Second + maxSuspension

// tally counts datagrams.
type tally struct {
	sent, answered int
	lost           int      // explained by a fault
	missing        int      // not explained
	notes          []string // which are missing
}

// overflows returns how many datagrams the kernel of this host has dropped because a socket buffer was full
// (RcvbufErrors, /proc/net/snmp). On a busy machine that happens although each client has only one datagram in flight.
// No more than that may be missing.
func overflows() int {
	text, _ := os.ReadFile("/proc/net/snmp")
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if name == "RcvbufErrors" && i < len(fields) {
				n, _ := strconv.Atoi(fields[i])
				return n
			}
		}
	}
	return 0
}

// datagram returns the datagram with a number: the flow, the number, and bytes that no other datagram has.
func datagram(flow, n uint64, size int) []byte {
	b := make([]byte, 16+size)
	binary.LittleEndian.PutUint64(b, flow)
	binary.LittleEndian.PutUint64(b[8:], n)
	_, _ = stream(flow<<20 | n | 1<<63).Read(b[16:])
	return b
}

// flow sends datagrams one after the other and waits for each reply. wrong is what was wrong, if anything.
func flow(ctx context.Context, r *rand.Rand, id uint64, from netip.AddrPort, to string, excused func(since time.Time, faults ...fault) bool) (t tally, wrong error) {
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
	if err != nil {
		return t, nil // the port is not free
	}
	defer conn.Close()
	buf := make([]byte, 1<<16)
	for n := range uint64(1 + r.IntN(20)) {
		if ctx.Err() != nil {
			return t, nil
		}
		most := []int{1, 100, 1400, 9000}[r.IntN(4)]
		if r.IntN(20) == 0 {
			most = 60_000
		}
		sent := datagram(id, n, r.IntN(most))
		began := time.Now()
		if _, err := conn.Write(sent); err != nil {
			if errors.Is(err, syscall.ECONNREFUSED) && excused(began, absent) { // of an earlier datagram
				return t, nil
			}
			return t, fmt.Errorf("datagram %d: %w", n, err)
		}
		t.sent++
		_ = conn.SetReadDeadline(began.Add(replyTimeout))
		for {
			k, err := conn.Read(buf)
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded) && excused(began, killed, limit, absent):
				t.lost++
			case errors.Is(err, os.ErrDeadlineExceeded):
				t.missing++
				t.notes = append(t.notes, fmt.Sprintf("datagram %d of flow %d from %s to %s, %d bytes, sent at %s", n, id, from, to, len(sent), began.Format("15:04:05.000")))
			case errors.Is(err, syscall.ECONNREFUSED) && excused(began, absent):
				t.lost++
				return t, nil
			case err != nil:
				return t, fmt.Errorf("datagram %d of %d bytes, sent at %s: %w", n, len(sent), began.Format("15:04:05.000"), err)
			case bytes.Equal(buf[:k], sent):
				t.answered++
			case k >= 16 && binary.LittleEndian.Uint64(buf) == id && binary.LittleEndian.Uint64(buf[8:]) < n:
				continue // a late reply to an earlier datagram, or to one that weir sent again
			default:
				return t, fmt.Errorf("datagram %d of %d bytes: %d other bytes received", n, len(sent), k)
			}
			break
		}
		sleep(ctx, r, 0, 40*time.Millisecond)
	}
	return t, nil
}
