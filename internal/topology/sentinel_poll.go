package topology

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"weir/checks"
)

const (
	// redialPace is the time until the next attempt after a connection to a Sentinel failed. It doubles with each failure,
	// up to the interval.
	redialPace = 50 * time.Millisecond

	// The largest replies that are read. 10,000 replicas have about 11 MB; the fields of a primary have about 1.5 kB.
	maxListing = 16 << 20
	maxAnswer  = 64 << 10

	// listPace is the time between two questions for the replicas, if polls are more frequent.
	listPace = 500 * time.Millisecond
)

// sentinel asks one Sentinel. pollLoop and subscribeLoop use it, each with a connection of its own.
type sentinel struct {
	watcher *sentinelWatcher
	index   int
	client  *checks.RedisClient
	names   *resolver
	target  checks.Target
	poke    chan struct{} // has room for one: poll now

	// Of pollLoop.
	conn     *checks.RedisConn // nil = not connected
	id       string            // the Sentinel's own name; "" = unknown
	named    bool              // the Sentinel has been asked for its name on this connection
	failedAt time.Time         // when the last connection failed
	failure  error             // of that connection; nil = the last poll succeeded
	pace     time.Duration     // from failedAt to the next attempt
	listedAt time.Time
	unlisted int // questions for the replicas in a row without a reply
}

// pollLoop asks the Sentinel every interval and when poked.
func (s *sentinel) pollLoop() {
	defer s.disconnect()
	interval := s.watcher.options.Spec.Interval
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.watcher.ctx.Done():
			return
		case <-s.poke:
		case <-timer.C:
		}
		a := s.ask(time.Now())
		if !send(s.watcher.ctx, s.watcher.answers, a) {
			return
		}
		if now := time.Now(); a.err == nil && now.Sub(s.listedAt) >= min(interval*8/10, listPace) {
			s.listedAt = now
			if l, ok := s.list(now); ok && !send(s.watcher.ctx, s.watcher.lists, sentinelList{s.index, l}) {
				return
			}
		}
		timer.Reset(jitter(interval))
	}
}

// send sends a value unless the context ends before.
func send[T any](ctx context.Context, c chan<- T, value T) bool {
	select {
	case c <- value:
		return true
	case <-ctx.Done():
		return false
	}
}

// jitter returns d less up to a tenth.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/10+1) }

// ask asks for the primary. A connection that the Sentinel has closed since the last poll is replaced once.
func (s *sentinel) ask(asked time.Time) answer {
	a := answer{sentinel: s.index, asked: asked}
	deadline := asked.Add(s.watcher.options.Spec.Timeout)
	for retry := s.conn != nil; ; retry = false {
		if s.conn == nil && s.failure != nil && asked.Sub(s.failedAt) < s.pace {
			a.err, a.repeated = s.failure, true
			return a
		}
		err := s.connect(deadline)
		if err == nil {
			if err = s.exchange(deadline, &a); err == nil {
				a.id, a.received, s.failure = s.id, time.Now(), nil
				return a
			}
			if checks.IsRedisError(err) || errors.Is(err, errReply) {
				a.err = err // the connection is usable
				return a
			}
			s.disconnect()
		}
		if !retry || errors.Is(err, context.DeadlineExceeded) {
			if s.failure == nil {
				s.pace = redialPace / 2
			}
			s.pace = min(2*s.pace, s.watcher.options.Spec.Interval*8/10) // the polls of the interval always connect
			a.err, s.failure, s.failedAt = err, err, time.Now()
			return a
		}
	}
}

// errReply marks an understood reply that names no primary.
var errReply = errors.New("no primary")

// replyError is an understood reply that names no primary. errors.Is reports it as errReply.
type replyError struct{ error }

func (replyError) Is(target error) bool { return target == errReply }

// connect opens the connection unless it is open.
func (s *sentinel) connect(deadline time.Time) (err error) {
	if s.conn == nil {
		s.conn, err = s.client.Dial(s.watcher.ctx, time.Until(deadline), s.target)
		s.named, s.id = false, ""
	}
	return err
}

func (s *sentinel) disconnect() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// exchange asks for epoch and address in one piece. A Sentinel answers both in the same state then; if it did not, the
// address would be newer than the epoch and not older, which the fence could not detect. The epoch of MASTER belongs to
// the address of GET-MASTER-ADDR-BY-NAME: during a failover, the address in MASTER is still the old one.
func (s *sentinel) exchange(deadline time.Time, a *answer) error {
	name := s.watcher.options.Spec.Master
	commands := [][]string{{"SENTINEL", "MASTER", name}, {"SENTINEL", "GET-MASTER-ADDR-BY-NAME", name}}
	if !s.named {
		commands = append(commands, []string{"SENTINEL", "MYID"})
	}
	if err := s.conn.Send(deadline, commands...); err != nil {
		return err
	}
	var master masterReply
	var address addressReply
	masterErr := s.conn.Receive(deadline, maxAnswer, master.add)
	if masterErr != nil && !checks.IsRedisError(masterErr) {
		return masterErr
	}
	addressErr := s.conn.Receive(deadline, maxAnswer, address.add)
	if addressErr != nil && !checks.IsRedisError(addressErr) {
		return addressErr
	}
	if !s.named {
		s.named = true
		id := ""
		// Sentinels before Redis 6.2, and users without the right, do not answer.
		if err := s.conn.Receive(deadline, maxAnswer, func(_ []int, text []byte) { id = string(text) }); err != nil && !checks.IsRedisError(err) {
			return err
		}
		s.id = validID(id)
	}
	switch {
	case addressErr != nil:
		return fmt.Errorf("SENTINEL GET-MASTER-ADDR-BY-NAME: %w", addressErr)
	case address.null:
		return replyError{fmt.Errorf("it does not monitor %q", name)}
	case masterErr != nil:
		return fmt.Errorf("SENTINEL MASTER: %w", masterErr)
	}
	text, err := address.address()
	if err != nil {
		return replyError{err}
	}
	if a.epoch, err = master.configEpoch(); err != nil {
		return replyError{err}
	}
	a.target = s.names.resolve(s.watcher.ctx, deadline, text)
	return nil
}

// list asks for the replicas. Without a reply, the last list holds; after a few such questions that is a problem.
func (s *sentinel) list(now time.Time) (l listing, ok bool) {
	deadline := now.Add(s.watcher.options.Spec.Timeout)
	var reply replicasReply
	err := s.conn.Send(deadline, []string{"SENTINEL", "REPLICAS", s.watcher.options.Spec.Master})
	if err == nil {
		err = s.conn.Receive(deadline, maxListing, reply.add)
	}
	if err != nil {
		s.unlisted++
		if !checks.IsRedisError(err) {
			s.disconnect()
		}
		return listing{problem: "SENTINEL REPLICAS: " + err.Error()}, checks.IsRedisError(err) || s.unlisted >= failuresShown
	}
	s.unlisted = 0
	reply.endRow()
	l = listing{replicas: make([]listedReplica, 0, len(reply.list))}
	for _, r := range reply.list {
		l.replicas = append(l.replicas, listedReplica{s.names.resolve(s.watcher.ctx, deadline, r.address), r.down})
	}
	switch {
	case reply.dropped > 0:
		l.problem = fmt.Sprintf("it lists %d replicas; %d are used", len(reply.list)+reply.dropped, MaxMembers)
	case reply.invalid > 0:
		l.problem = fmt.Sprintf("it lists %d replicas without a usable address", reply.invalid)
	}
	return l, true
}

// addPort returns addresses with a port.
func addPort(list []netip.Addr, port uint16) []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(list))
	for _, a := range list {
		out = append(out, netip.AddrPortFrom(a.Unmap(), port))
	}
	return out
}
