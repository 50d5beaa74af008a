package agentcheck

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Server replies to agent checks over TCP. Its fields must not change after Serve was called.
type Server struct {
	Reply   ReplyFunc   // returns the reply
	OnError func(error) // called for each request without a reply, from several goroutines; nil = ignored
}

// Limits of a server. A few balancers query it about once per second.
const (
	maxConns     = 64              // connections at the same time; further ones wait
	replyTimeout = 2 * time.Second // of one connection, from accept to close
	acceptPause  = 100 * time.Millisecond
)

// Serve replies on a listener until the context ends, then closes the listener and returns nil when the last connection
// is closed. It returns the error of a listener that has failed permanently.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer l.Close()
	slots := make(chan struct{}, maxConns)
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
			defer func() { <-slots }()
			if err := s.serveConn(ctx, conn); err != nil {
				s.reportError(err)
			}
		})
	}
}

func (s *Server) reportError(err error) {
	if s.OnError != nil {
		s.OnError(err)
	}
}

// serveConn handles one connection. It reads and ignores what the balancer sends, so that a reset does not discard the
// reply.
func (s *Server) serveConn(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(replyTimeout))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
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
	_, _ = io.Copy(io.Discard, io.LimitReader(conn, MaxReply))
	return nil
}
