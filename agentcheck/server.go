package agentcheck

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Server answers balancers' agent checks over TCP. Its fields are not changed once it serves.
type Server struct {
	Reply   ReplyFunc   // what to say
	OnError func(error) // told why a question went unanswered, from several goroutines at a time; nil = nobody
}

// Limits of a server, which is asked by a few balancers every second or so.
const (
	maxConns     = 64              // questions answered at the same time; more have to wait
	replyTimeout = 2 * time.Second // for one question, from accept to close
	acceptPause  = 100 * time.Millisecond
)

// Serve answers on a listener until the context ends, then closes the listener and returns nil when the last question
// is dealt with. The error is that of a listener that has failed for good.
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
			// Out of descriptors, or a connection that was gone before it was accepted: it passes.
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

// serveConn deals with one question. What a balancer sends is read, so that the answer is not lost with a reset, and
// ignored.
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
		return nil // the balancer has gone
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(conn, MaxReply))
	return nil
}
