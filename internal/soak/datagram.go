package soak

// UDP: servers that echo, and clients whose every datagram has a number.

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
	"sync"
	"time"
)

// datagramServer echoes what comes until it dies.
type datagramServer struct {
	address string

	mu   sync.Mutex
	conn *net.UDPConn // nil = it is dead
	work sync.WaitGroup
}

func (s *datagramServer) start() error {
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

func (s *datagramServer) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

func (s *datagramServer) stop() {
	s.die()
	s.work.Wait()
}

func (s *datagramServer) sessions() int { return 0 }

// answerPatience is how long an answer may take. Only one datagram of a client is on its way at a time, so no buffer
// overflows: what is lost was lost by somebody.
const answerPatience = 5 * time.Second

// tally counts datagrams.
type tally struct {
	sent, answered, lost int
}

// datagram is the one of a number: the flow's, its own, and bytes that no other has.
func datagram(flow, n uint64, size int) []byte {
	b := make([]byte, 16+size)
	binary.LittleEndian.PutUint64(b, flow)
	binary.LittleEndian.PutUint64(b[8:], n)
	_, _ = stream(flow<<20 | n | 1<<63).Read(b[16:])
	return b
}

// flow sends some datagrams, one after the other, and waits for each to come back. It returns what was wrong, if
// something was.
func flow(ctx context.Context, r *rand.Rand, id uint64, from netip.AddrPort, to string, excused func(since time.Time) bool) (t tally, wrong error) {
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
		sent := datagram(id, n, r.IntN([]int{1, 100, 1400, 9000, 60_000}[r.IntN(5)]))
		began := time.Now()
		if _, err := conn.Write(sent); err != nil {
			return t, fmt.Errorf("datagram %d: %w", n, err)
		}
		t.sent++
		_ = conn.SetReadDeadline(began.Add(answerPatience))
		for {
			k, err := conn.Read(buf)
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded) && excused(began):
				t.lost++
			case err != nil:
				return t, fmt.Errorf("datagram %d of %d bytes: %w", n, len(sent), err)
			case bytes.Equal(buf[:k], sent):
				t.answered++
			case k >= 16 && binary.LittleEndian.Uint64(buf) == id && binary.LittleEndian.Uint64(buf[8:]) < n:
				continue // an answer to an earlier one that was given up, or that weir sent again
			default:
				return t, fmt.Errorf("datagram %d of %d bytes: %d bytes came that are not it", n, len(sent), k)
			}
			break
		}
		sleep(ctx, r, 0, 40*time.Millisecond)
	}
	return t, nil
}
