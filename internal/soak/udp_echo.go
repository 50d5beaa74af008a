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
	"strconv"
	"strings"
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

// answerPatience is how long an answer may take.
const answerPatience = 5 * time.Second

// tally counts datagrams.
type tally struct {
	sent, answered int
	lost           int // for a reason that the ledger has
	missing        int // for none
}

// overflows is how many datagrams this host's kernel has thrown away because nobody took them off a socket in time
// (RcvbufErrors, /proc/net/snmp): where processors are short, some do not come in time although each client has only one
// on its way. No more may be missing than that.
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
		most := []int{1, 100, 1400, 9000}[r.IntN(4)]
		if r.IntN(20) == 0 {
			most = 60_000
		}
		sent := datagram(id, n, r.IntN(most))
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
			case errors.Is(err, os.ErrDeadlineExceeded):
				t.missing++
			case err != nil:
				return t, fmt.Errorf("datagram %d of %d bytes, sent at %s: %w", n, len(sent), began.Format("15:04:05.000"), err)
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
