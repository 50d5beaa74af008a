package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/status"

	"weir/internal/fleet"
	"weir/internal/printable"
)

// Options are the parameters of a Store.
type Options struct {
	Endpoints []string    // URLs; at least one
	Prefix    string      // of all keys, without a slash at its end
	User      string      // "" = no authentication by password
	Password  string      // of User
	TLS       *tls.Config // nil = that of the system, for https
	Timeout   time.Duration
}

// Store implements fleet.Store.
type Store struct {
	o      Options
	prefix string // with its slash
	ctx    context.Context
	cancel context.CancelFunc
	dialer *dialer
	work   sync.WaitGroup // leases that are renewed, watches, connections that close

	mu     sync.Mutex // held while a connection is made, at most for Timeout
	client *clientv3.Client
	next   int // endpoint
}

// silence keeps gRPC from writing to standard error. Errors of calls have what it would write.
var silence = sync.OnceFunc(func() { grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)) })

// Open returns a Store. It does not connect; calls do.
func Open(o Options) *Store {
	silence()
	s := &Store{o: o, prefix: o.Prefix + "/", next: rand.IntN(len(o.Endpoints)), dialer: newDialer()}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close closes the connection and waits for all goroutines. It waits for no answer of the store.
func (s *Store) Close() error {
	s.cancel()
	s.dialer.close()
	s.mu.Lock()
	c := s.client
	s.client = nil
	s.mu.Unlock()
	if c != nil {
		c.Close()
	}
	s.work.Wait()
	return nil
}

// connection returns the current connection and makes one if there is none.
func (s *Store) connection() (*clientv3.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, errClosed
	}
	if s.client != nil {
		return s.client, nil
	}
	endpoint := s.o.Endpoints[s.next%len(s.o.Endpoints)]
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{endpoint}, TLS: s.o.TLS, Username: s.o.User, Password: s.o.Password, Context: s.ctx,
		DialTimeout: s.o.Timeout, Logger: zap.NewNop(), MaxCallRecvMsgSize: maxResponse, MaxCallSendMsgSize: maxRequest,
		MaxUnaryRetries: 2, BackoffWaitBetween: 10 * time.Millisecond, // once more with a new token
		DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(failFast), grpc.WithChainStreamInterceptor(failFastStream), grpc.WithNoProxy(), grpc.WithContextDialer(s.dialer.dial)},
	})
	if err != nil {
		s.next++
		return nil, s.described(endpoint, err)
	}
	s.client = c
	return c, nil
}

var errClosed = errors.New("the connection to the store is closed")

// failFast and failFastStream let calls fail with the error of the connection, instead of after their timeout without it.
func failFast(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(ctx, method, req, reply, cc, append(opts, grpc.WaitForReady(false))...)
}

func failFastStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(ctx, desc, cc, method, append(opts, grpc.WaitForReady(false))...)
}

// drop ends a connection that has failed, unless another one has replaced it. The next call uses the next endpoint.
func (s *Store) drop(c *clientv3.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != c || s.ctx.Err() != nil {
		return
	}
	s.client = nil
	s.next++
	s.work.Go(func() { c.Close() })
}

// call runs one call within the timeout. After an error that another endpoint may not give, it drops the connection.
func (s *Store) call(ctx context.Context, do func(ctx context.Context, c *clientv3.Client) error) error {
	c, err := s.connection()
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	err = do(limited, c)
	switch {
	case err == nil || ctx.Err() != nil || isAnswer(err):
		return err
	case limited.Err() != nil:
		err = fmt.Errorf("no answer within %v", s.o.Timeout)
	}
	endpoint := c.Endpoints()[0]
	s.drop(c)
	return s.described(endpoint, err)
}

// isAnswer reports whether an error is what any endpoint answers.
func isAnswer(err error) bool {
	return errors.Is(err, fleet.ErrConflict) || errors.Is(err, fleet.ErrLeaseLost) || errors.Is(err, fleet.ErrFull) || errors.Is(err, errTooLarge)
}

var errTooLarge = errors.New("the response is too large")

// described returns an error of the connection to an endpoint as one line without what gRPC puts around it.
func (s *Store) described(endpoint string, err error) error {
	text := err.Error()
	if known, ok := status.FromError(err); ok {
		text = known.Message()
	}
	text = strings.TrimPrefix(text, "etcdserver: ")
	for _, around := range []string{"last connection error: ", "connection error: desc = ", "transport: "} {
		if _, rest, ok := strings.Cut(text, around); ok {
			text = rest
		}
	}
	return fmt.Errorf("etcd at %s: %s", endpoint, printable.Clip(strings.Trim(text, `"`), 2*printable.MaxQuote))
}

// translate turns the errors that callers branch on into those of package fleet.
func translate(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return fleet.ErrLeaseLost
	case errors.Is(err, rpctypes.ErrCompacted):
		return fleet.ErrCompacted
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fleet.ErrFull
	case status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "larger than max"):
		return errTooLarge
	}
	return err
}
