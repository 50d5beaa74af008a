package nettest

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Recorder is a host that records its connections: their clients, the received bytes, and how each ended. The zero
// value reads everything, writes nothing, and closes at the client's FIN. Set the fields before the host starts.
type Recorder struct {
	Banner    string        // written first
	CloseSide bool          // close the host's own side right after the banner
	StayOpen  bool          // after the client's FIN, keep the host's own side open until the host is closed
	Pause     time.Duration // before the first read
	Keep      int           // how many received bytes to record per connection; 0 = 64 KiB

	mu     sync.Mutex
	visits []*RecordedConn
}

// RecordedConn is one connection to a Recorder.
type RecordedConn struct {
	From, To netip.AddrPort
	At       time.Time
	Bytes    int64
	Data     []byte    // the first Keep bytes
	End      StreamEnd // how the client ended the connection; "" while it is open
	EndAt    time.Time
}

// Handle is the Handler of the host.
func (r *Recorder) Handle(ctx context.Context, c *net.TCPConn) {
	v := &RecordedConn{
		From: c.RemoteAddr().(*net.TCPAddr).AddrPort(),
		To:   c.LocalAddr().(*net.TCPAddr).AddrPort(),
		At:   time.Now(),
	}
	r.mu.Lock()
	r.visits = append(r.visits, v)
	r.mu.Unlock()

	// The kernel reports a reset once, to the call that comes first.
	if r.Banner != "" {
		if _, err := io.WriteString(c, r.Banner); err != nil {
			r.ended(v, err)
			return
		}
	}
	if r.CloseSide && c.CloseWrite() != nil {
		r.ended(v, syscall.ECONNRESET) // it was connected, so it was reset
		return
	}
	if !sleep(ctx, r.Pause) {
		return
	}
	keep := r.Keep
	if keep == 0 {
		keep = 64 << 10
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Read(buf)
		r.mu.Lock()
		v.Bytes += int64(n)
		v.Data = append(v.Data, buf[:min(n, keep-len(v.Data))]...)
		r.mu.Unlock()
		if err != nil {
			r.ended(v, err)
			break
		}
	}
	if r.StayOpen && v.End == EOF {
		<-ctx.Done()
	}
}

func (r *Recorder) ended(v *RecordedConn, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v.End, v.EndAt = StreamEndOf(err), time.Now()
}

// Conns returns copies of the connections in order of arrival.
func (r *Recorder) Conns() []RecordedConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]RecordedConn, len(r.visits))
	for i, v := range r.visits {
		out[i] = *v
		out[i].Data = slices.Clone(v.Data)
	}
	return out
}

// WaitEnd waits until connection i has ended and returns it.
func (r *Recorder) WaitEnd(t testing.TB, i int, within time.Duration) RecordedConn {
	t.Helper()
	var v RecordedConn
	Wait(t, within, "the end of the visit", func() bool {
		visits := r.Conns()
		if i < len(visits) {
			v = visits[i]
		}
		return v.End != ""
	})
	return v
}
