package agentcheck

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Server replies to agent checks over TCP. Its fields must not change after Serve was called.
type Server struct {
	Reply   ReplyFunc      // returns the reply
	Allow   []netip.Prefix // clients that get a reply; empty = all. The connections of others are closed
	OnError func(error)    // called for each request without a reply, from several goroutines; nil = ignored
}

// Limits of a server. A few balancers query it about once per second.
const (
	maxReplies   = 64              // replies at the same time; further ones wait
	maxAnswered  = 64              // connections that have got their reply and are still open; the oldest gives way to the next
	replyTimeout = 2 * time.Second // of one connection, from accept to close
	acceptPause  = 100 * time.Millisecond
)

// Serve replies on a listener until the context ends, then closes the listener and returns nil when the last connection
// is closed. It returns the error of a listener that has failed permanently. A client gets its reply before anything is
// read from it, so clients that send and close nothing keep no other from its reply.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer l.Close()
	slots := make(chan struct{}, maxReplies)
	answered := newAnsweredConns()
	for {
		slots <- struct{}{}
		conn, err := l.Accept()
		if err != nil {
			<-slots
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			// Temporary: no descriptors, or a connection that was aborted before it was accepted.
			s.reportError(err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		asking.Go(func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(replyTimeout))
			stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
			defer stop()
			err := s.reply(conn)
			<-slots
			if err != nil {
				s.reportError(err)
				return
			}
			defer answered.remove(answered.add(conn))
			_, _ = io.Copy(io.Discard, io.LimitReader(conn, MaxReply))
		})
	}
}

// answeredConns are connections that have got their reply, oldest first.
type answeredConns struct {
	mu   sync.Mutex
	list *list.List // of net.Conn; guarded by mu
}

func newAnsweredConns() *answeredConns { return &answeredConns{list: list.New()} }

// add adds a connection. At the limit it closes the oldest one.
func (a *answeredConns) add(conn net.Conn) *list.Element {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.list.Len() >= maxAnswered {
		oldest := a.list.Front()
		_ = oldest.Value.(net.Conn).Close()
		a.list.Remove(oldest)
	}
	return a.list.PushBack(conn)
}

func (a *answeredConns) remove(e *list.Element) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list.Remove(e)
}

func (s *Server) reportError(err error) {
	if s.OnError != nil {
		s.OnError(err)
	}
}

// reply sends the reply and closes the sending direction. The caller then reads and ignores what the balancer sends, so
// that a reset does not discard the reply.
func (s *Server) reply(conn net.Conn) error {
	if !s.allows(conn.RemoteAddr()) {
		return fmt.Errorf("client %s is not allowed", conn.RemoteAddr())
	}
	line, err := s.Reply()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return nil // the balancer has closed
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	return nil
}

func (s *Server) allows(client net.Addr) bool {
	if len(s.Allow) == 0 {
		return true
	}
	at, err := netip.ParseAddrPort(client.String())
	return err == nil && slices.ContainsFunc(s.Allow, func(p netip.Prefix) bool { return p.Contains(at.Addr().Unmap().WithZone("")) })
}
