package topology

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/checks"
)

// sqlServer asks one address. Its goroutine owns the session, which it keeps between polls, so that a poll costs the server
// a few queries and the end of the server's process is noticed at once.
type sqlServer struct {
	target  checks.Target
	more    []string // further addresses of the name, tried in order
	node    sqlNode  // owned by the watcher
	request chan struct{}
	stop    context.CancelFunc

	// Owned by the watcher:
	inFlight bool      // a poll is requested and has no result yet
	void     bool      // its result does not count: this process was paused meanwhile
	polledAt time.Time // last request
	retryAt  time.Time // next poll outside the rounds; zero = none
}

// sqlResult is the result of a poll, or the end of an idle session.
type sqlResult struct {
	server       *sqlServer
	ended        bool // the server has ended the idle session; no poll
	answer       *sqlAnswer
	err          error
	began, until time.Time
}

// sqlAsker asks the servers of a cluster.
type sqlAsker struct {
	client  *checks.MySQLClient
	galera  bool
	timeout time.Duration
	results chan sqlResult
	wait    sync.WaitGroup
}

// start starts the goroutine of a server. It ends with ctx.
func (a *sqlAsker) start(ctx context.Context, s *sqlServer) {
	ctx, s.stop = context.WithCancel(ctx)
	a.wait.Go(func() { a.serve(ctx, s) })
}

// serve polls at each request and watches the idle session meanwhile.
func (a *sqlAsker) serve(ctx context.Context, s *sqlServer) {
	var session *checks.MySQLSession
	drop := func() {
		if session != nil {
			session.Close()
			session = nil
		}
	}
	defer drop()
	for {
		if session != nil && a.idle(ctx, s, session) {
			drop()
			a.send(ctx, sqlResult{server: s, ended: true})
		}
		if session == nil {
			select {
			case <-s.request:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return
		}
		r := sqlResult{server: s, began: time.Now()}
		session, r.answer, r.err = a.poll(ctx, s, session)
		r.until = time.Now()
		a.send(ctx, r)
	}
}

func (a *sqlAsker) send(ctx context.Context, r sqlResult) {
	select {
	case a.results <- r:
	case <-ctx.Done():
	}
}

// idle waits for the next request, and returns earlier, with true, if the server ends the session.
func (a *sqlAsker) idle(ctx context.Context, s *sqlServer, session *checks.MySQLSession) bool {
	watch, cancel := context.WithCancel(ctx)
	ended := make(chan bool, 1)
	go func() { ended <- session.AwaitEnd(watch) }()
	select {
	case <-s.request:
		cancel()
		<-ended // if the session has ended, the poll opens another one
		return false
	case end := <-ended:
		cancel()
		return end && ctx.Err() == nil
	}
}

// poll asks once, on a session that is kept or on a new one, and returns the session to keep. A kept session that the
// server has ended says nothing about the server: it is opened again within the same poll.
func (a *sqlAsker) poll(ctx context.Context, s *sqlServer, session *checks.MySQLSession) (*checks.MySQLSession, *sqlAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	if session != nil {
		answer, err := a.ask(ctx, session)
		if err == nil {
			return session, answer, nil
		}
		broken := session.Broken()
		session.Close()
		if !broken || ctx.Err() != nil {
			return nil, nil, err
		}
	}
	session, err := a.open(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	answer, err := a.ask(ctx, session)
	if err != nil {
		session.Close()
		return nil, nil, err
	}
	return session, answer, nil
}

// open opens a session to the first address that accepts one.
func (a *sqlAsker) open(ctx context.Context, s *sqlServer) (*checks.MySQLSession, error) {
	t := s.target
	session, err := a.client.Open(ctx, t, a.timeout)
	for _, address := range s.more {
		if err == nil || ctx.Err() != nil {
			break
		}
		t.Address = address
		session, err = a.client.Open(ctx, t, a.timeout)
	}
	return session, err
}

// ask asks on an open session.
func (a *sqlAsker) ask(ctx context.Context, session *checks.MySQLSession) (answer *sqlAnswer, err error) {
	defer func() {
		if p := recover(); p != nil {
			answer, err = nil, fmt.Errorf("panic: %v", p)
		}
	}()
	answer = &sqlAnswer{began: time.Now()}
	if a.galera {
		answer.galera, err = askGalera(ctx, session)
	} else {
		answer.mysql, err = askMySQL(ctx, session)
	}
	answer.ended = time.Now()
	return answer, err
}

var errUnresolved = errors.New("its name has no address")

// newSQLServers returns a server for each address, not started. Servers of the cluster that have the same address share
// one. Those without an address have no target.
func newSQLServers(cluster string, list []Server) []*sqlServer {
	var servers []*sqlServer
	byTarget := map[string]*sqlServer{}
	for _, s := range list {
		t := checks.Target{Cluster: cluster, Source: s.Source, Interface: s.Interface, SendProxy: s.SendProxy}
		var more []string
		if path, unix := strings.CutPrefix(s.Address, "unix:"); unix {
			t.Network, t.Address = "unix", path
		} else if len(s.Addresses) > 0 {
			t.Address = s.Addresses[0].String()
			for _, a := range s.Addresses[1:] {
				more = append(more, a.String())
			}
			t.Host = hostOf(s.Address)
		}
		key := t.Network + t.Address
		if old := byTarget[key]; old != nil && t.Address != "" {
			old.node.names = append(old.node.names, s.Name)
			continue
		}
		server := &sqlServer{
			target: t, more: more, request: make(chan struct{}, 1),
			node: sqlNode{address: s.Address, names: []string{s.Name}},
		}
		if t.Address == "" {
			server.node.asked, server.node.reason = true, errUnresolved.Error()
		}
		byTarget[key] = server
		servers = append(servers, server)
	}
	slices.SortStableFunc(servers, func(a, b *sqlServer) int { return strings.Compare(a.node.address, b.node.address) })
	return servers
}

// hostOf returns the host name of an address, or "" if it is a literal IP address.
func hostOf(address string) string {
	if _, err := netip.ParseAddrPort(address); err == nil {
		return ""
	}
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return address
	}
	return address[:i]
}

// same reports whether two servers are asked in the same way.
func (s *sqlServer) same(o *sqlServer) bool {
	return s.target == o.target && slices.Equal(s.more, o.more) && s.node.address == o.node.address
}
