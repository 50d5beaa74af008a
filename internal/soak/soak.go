package soak

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"weir/internal/progress"
)

// Options configure a run.
type Options struct {
	Binary  string        // the weir under test
	Child   []string      // the command of a child server, which calls Serve; index and address are appended
	Time    time.Duration // length of the run
	Seed    uint64
	Clients int           // concurrent clients
	Pause   time.Duration // between two sessions of a client, on average
	Out     io.Writer     // receives a line every ten seconds, and the report
	Log     io.Writer     // receives the log of weir without the records of sessions
}

// Run runs the test, writes the report, and returns an error with the number of problems.
func Run(o Options) error {
	dir, err := os.MkdirTemp("", "weirsoak")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &soak{Options: o, begun: time.Now(), overflowsBefore: overflows(), live: progress.New(o.Out, 0)}
	s.Out = s.live
	fmt.Fprintf(o.Out, "seed %d, %v, %d clients\n", o.Seed, o.Time, o.Clients)
	return s.run(dir)
}

const (
	plainServers = 8 // in the first two clusters
	serverCount  = 20
	echoCount    = 3
)

type soak struct {
	Options
	begun           time.Time
	ends            time.Time // of the load
	overflowsBefore int       // UDP overflows of this host before the run
	verifier        *verifier
	faults          *faultInjector
	weir            *weirProcess
	lastID          atomic.Uint64
	shown           int            // problems that progress has written
	live            *progress.Line // what Out shows below what it has received
}

// address returns an address in a loopback network that only this run uses.
func address(host, port int) string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d:%d", 64+pid>>8%128, pid%256, host, port)
}

// clusterOf returns the cluster of a server.
func clusterOf(server int) int {
	if server < plainServers {
		return server / (plainServers / 2)
	}
	return redisCluster + (server-plainServers)/((serverCount-plainServers)/(clusterCount-redisCluster))
}

func (s *soak) run(dir string) error {
	var places []serverAddr
	for i := range serverCount {
		places = append(places, serverAddr{fmt.Sprintf("s%d", i), address(10+i, 7000), clusterOf(i)})
	}
	var listen []string
	for i := range listenerCount {
		listen = append(listen, address(100+i, 7000))
	}
	listen[unixListener] = unixPrefix + filepath.Join(dir, "listener.sock")
	log := &faultLog{}
	childServers := map[string]bool{}
	first := newRandomConfig("unix:"+adminSocket(dir), places, listen)
	first.flows = []flowListener{{name: flowsName, address: address(120, 7000), present: true}, {name: "v", address: address(121, 7000), present: true}}
	for i := range echoCount {
		first.echoes = append(first.echoes, serverAddr{name: fmt.Sprintf("u%d", i), address: address(30+i, 7000)})
	}
	s.verifier = newVerifier(log, places, childServers)
	for _, at := range first.echoes {
		s.verifier.echoes = append(s.verifier.echoes, at.name)
	}
	for _, l := range first.flows {
		s.verifier.flows = append(s.verifier.flows, l.name)
	}
	s.faults = &faultInjector{verifier: s.verifier, faultLog: log, first: first, current: first, open: map[condition]func(){}}
	add := func(name string, h testServer) error {
		s.faults.hosts, s.faults.names = append(s.faults.hosts, h), append(s.faults.names, name)
		return h.start()
	}
	defer func() {
		for _, h := range s.faults.hosts {
			h.stop()
		}
	}()
	for i, at := range places {
		server := newServer(i, at.address, s.verifier.addServerResult)
		if protocol := first.clusters[at.cluster].greeting; protocol != "" {
			server.refuser.protocol = protocol
			s.faults.refusers = append(s.faults.refusers, namedRefuser{&server.refuser, at.name})
		}
		var h testServer = server
		if i%4 == 2 && i < plainServers && len(s.Child) > 0 {
			h = &childServer{command: s.Child, index: i, address: at.address, report: s.verifier.addServerResult}
			childServers[at.name] = true
		}
		if err := add(at.name, h); err != nil {
			return err
		}
	}
	for _, at := range first.echoes {
		if err := add(at.name, &udpServer{address: at.address}); err != nil {
			return err
		}
	}
	stop, err := s.startProviders(dir)
	if err != nil {
		return err
	}
	defer stop()
	s.verifier.routes.begin(first)
	if s.weir, err = launch(s.Binary, dir, first.String(), s.Log, s.verifier.addRecord); err != nil {
		return err
	}
	defer s.weir.kill()
	s.faults.weir = s.weir
	for c := range first.conditions() {
		s.faults.open[c] = log.begin(c.fault, c.subject)
	}

	s.clients(rand.New(rand.NewPCG(s.Seed, 1000)), 2*time.Second, false) // allocates what is allocated only once
	s.waitIdle()
	before, err := s.idleFootprint()
	if err != nil {
		return err
	}
	s.ends = time.Now().Add(s.Time)
	s.clients(rand.New(rand.NewPCG(s.Seed, 0)), s.Time, true)
	select {
	case <-s.weir.ended:
		s.reportLog()
		return s.report(before, before)
	default:
	}
	s.live.Show("waiting until no session is left, at most 20s")
	defer s.live.Show("")
	s.faults.restore()
	s.waitIdle()
	s.waitRecords()
	after := s.checkLeaks(before)
	s.checkCounters()
	if after.goroutines > before.goroutines+idleWorkers {
		fmt.Fprintln(s.Out, s.weir.goroutines())
	} else if err := s.weir.stop(first.listeners[0].address); err != nil {
		s.verifier.report("%v", err)
	}
	s.reportLog()
	return s.report(before, after)
}

// reportLog reports the log lines of weir that indicate a problem.
func (s *soak) reportLog() {
	for _, line := range s.weir.errorLines() {
		s.verifier.report("log: %s", line)
	}
}
