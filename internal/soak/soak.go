package soak

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"
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
}

// Run runs the test, writes the report, and returns an error with the number of problems.
func Run(o Options) error {
	dir, err := os.MkdirTemp("", "weirsoak")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &soak{Options: o, begun: time.Now(), overflowsBefore: overflows()}
	fmt.Fprintf(o.Out, "seed %d, %v, %d clients\n", o.Seed, o.Time, o.Clients)
	return s.run(dir)
}

const (
	serverCount   = 8
	listenerCount = 5
	echoCount     = 3
)

type soak struct {
	Options
	begun           time.Time
	overflowsBefore int // UDP overflows of this host before the run
	verifier        *verifier
	faults          *faultInjector
	weir            *weirProcess
	lastID          atomic.Uint64
	shown           int // problems that progress has written
}

// address returns an address in a loopback network that only this run uses.
func address(host, port int) string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d:%d", 64+pid>>8%128, pid%256, host, port)
}

func (s *soak) run(dir string) error {
	var places []serverAddr
	for i := range serverCount {
		places = append(places, serverAddr{fmt.Sprintf("s%d", i), address(10+i, 7000), i / (serverCount / 2)})
	}
	var listen []string
	for i := range listenerCount {
		listen = append(listen, address(100+i, 7000))
	}
	log := &faultLog{}
	childServers := map[string]bool{}
	first := newRandomConfig("unix:"+adminSocket(dir), places, listen)
	first.flows = address(120, 7000)
	for i := range echoCount {
		first.echoes = append(first.echoes, serverAddr{name: fmt.Sprintf("u%d", i), address: address(30+i, 7000)})
	}
	s.verifier = newVerifier(log, places, childServers)
	for _, at := range first.echoes {
		s.verifier.echoes = append(s.verifier.echoes, at.name)
	}
	s.faults = &faultInjector{verifier: s.verifier, faultLog: log, first: first, current: first, open: map[string]func(){}}
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
		var h testServer = newServer(i, at.address, s.verifier.addServerResult)
		if i%4 == 2 && len(s.Child) > 0 {
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
	var err error
	if s.weir, err = launch(s.Binary, dir, first.String(), s.verifier.addRecord); err != nil {
		return err
	}
	defer s.weir.kill()
	s.faults.weir = s.weir
	for _, name := range names(first.absent()) {
		s.faults.open["absent "+name] = log.begin(absent, name)
	}

	s.clients(rand.New(rand.NewPCG(s.Seed, 1000)), 2*time.Second, false) // allocates what is allocated only once
	s.waitIdle()
	before, err := s.idleFootprint()
	if err != nil {
		return err
	}
	s.clients(rand.New(rand.NewPCG(s.Seed, 0)), s.Time, true)
	s.faults.restore()
	s.waitIdle()
	s.waitRecords()
	after := s.checkLeaks(before)
	s.checkCounters()
	if after.goroutines > before.goroutines+idleWorkers {
		fmt.Fprintln(s.Out, s.weir.goroutines())
	} else if err := s.weir.stop(); err != nil {
		s.verifier.report("%v", err)
	}
	for _, line := range s.weir.errorLines() {
		s.verifier.report("log: %s", line)
	}
	return s.report(before, after)
}

// clients runs the clients for length, with faults if wild is set. It returns when the last session has ended.
func (s *soak) clients(r *rand.Rand, length time.Duration, wild bool) {
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	var work sync.WaitGroup
	own := func() *rand.Rand { return rand.New(rand.NewPCG(r.Uint64(), r.Uint64())) }
	for i := range s.Clients {
		mine, ports := own(), newPorts(i, s.Clients)
		work.Go(func() {
			for ctx.Err() == nil {
				p := s.session(ctx, mine, ports)
				s.verifier.addClientResult(p)
				switch {
				case p.server < 0: // no server: limit the rate
					sleep(ctx, mine, 10*time.Millisecond, 100*time.Millisecond)
				case s.Pause > 0:
					sleep(ctx, mine, 0, 2*s.Pause)
				}
			}
		})
	}
	for i := range max(1, s.Clients/8) {
		mine, ports := own(), newPorts(i, s.Clients)
		work.Go(func() {
			for ctx.Err() == nil {
				id := s.lastID.Add(1)
				t, wrong := flow(ctx, mine, id, ports.next(), s.faults.first.flows, func(since time.Time) bool {
					return s.faults.faultLog.any(s.faults.faultLog.before(since, tolerance), time.Now(), append([]string{flowsName}, s.verifier.echoes...), killed, limit)
				})
				s.verifier.addFlow(id, t, wrong)
			}
		})
	}
	if wild {
		for _, do := range []func(context.Context, *rand.Rand){s.faults.killServers, s.faults.reloadRandomly, s.faults.overrideRandomly, s.faults.readStatus, s.faults.upgradeRandomly, s.faults.suspendRandomly} {
			mine := own()
			work.Go(func() { do(ctx, mine) })
		}
	}
	ended := make(chan struct{})
	go func() {
		work.Wait()
		close(ended)
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ended:
			return
		case now := <-tick.C:
			s.verifier.verifyEnded(now)
			if wild && n%10 == 0 {
				s.progress()
			}
		}
	}
}

// ports are the local ports that one client uses in turn. They are chosen here and not by the kernel, so that a session
// is identified by its address even if it is reset before connect has returned.
type ports struct {
	ip          netip.Addr
	first, last uint16
	nextPort    uint16
}

const firstPort, lastPort = 10_000, 65_000

func newPorts(client, clients int) *ports {
	room := (lastPort - firstPort) / clients
	ip := netip.MustParseAddrPort(address(1+client%4, 1)).Addr()
	first := uint16(firstPort + client*room)
	return &ports{ip: ip, first: first, last: first + uint16(room) - 1, nextPort: first}
}

func (p *ports) next() netip.AddrPort {
	port := p.nextPort
	if p.nextPort++; p.nextPort > p.last {
		p.nextPort = p.first
	}
	return netip.AddrPortFrom(p.ip, port)
}

// session runs one random session.
func (s *soak) session(ctx context.Context, r *rand.Rand, from *ports) clientResult {
	sc := newScript(r, s.lastID.Add(1))
	lottery := r.IntN(listenerCount)
	anyway := r.IntN(20) == 0 // sometimes use an absent listener
	base := r.IntN(permanentListeners)
	for {
		s.faults.mu.Lock()
		l := s.faults.current.listeners[lottery]
		if !l.present && !anyway {
			l = s.faults.current.listeners[base]
		}
		s.faults.mu.Unlock()
		if sc.proxy = 0; l.acceptProxy {
			sc.proxy = 1 + uint8(sc.id%2)
		}
		if p, err := sc.run(ctx, from.next(), l.name, l.address); err == nil {
			return p
		}
	}
}

const maxStream = 4 << 20

// newScript returns a random script.
func newScript(r *rand.Rand, id uint64) script {
	size := func(most int) uint32 { // logarithmic: small sizes are as frequent as large ones
		if r.IntN(20) == 0 {
			return 0
		}
		return uint32(math.Exp(r.Float64() * math.Log(float64(most))))
	}
	sc := script{
		id: id, serverReset: never, clientReset: never, chunk: 1 + size(64<<10), order: order(r.IntN(3)), up: size(maxStream), down: size(maxStream),
	}
	switch n := r.IntN(100); {
	case n < 40:
		sc.echo = true
	case n < 65: // two streams
	case n < 73:
		sc.serverReset = uint32(r.Int64N(int64(sc.down) + 1))
		sc.order = anyOrder
	case n < 81:
		sc.echo = r.IntN(2) == 0
		sc.clientReset = uint32(r.Int64N(int64(sc.up) + 1))
		sc.order = anyOrder
	case n < 86:
		sc.pause, sc.up, sc.down = uint32(1000+r.IntN(int(maxClientPause.Milliseconds())-1000)), size(1000), size(1000)
	case n < 91:
		sc.slow, sc.down = true, size(1<<20)
	default:
		sc.up, sc.down = uint32(r.IntN(10)), uint32(r.IntN(10))
	}
	sc.up, sc.down = min(sc.up, 4000*sc.chunk), min(sc.down, 4000*sc.chunk) // bounds the time of sessions in single bytes
	if sc.echo {
		sc.down, sc.order = sc.up, anyOrder
		if sc.serverReset != never {
			sc.serverReset = min(sc.serverReset, sc.up)
		}
	}
	if sc.serverReset != never {
		sc.serverReset = min(sc.serverReset, sc.down)
	}
	if sc.clientReset != never {
		sc.clientReset = min(sc.clientReset, sc.up)
	}
	return sc
}

// waitIdle waits until weir has no sessions.
func (s *soak) waitIdle() {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		m, err := s.weir.metrics()
		if err != nil {
			s.verifier.report("metrics: %v", err)
			return
		}
		busy := ""
		for name, v := range m {
			for _, gauge := range []string{"weir_sessions{", "weir_server_sessions{", "weir_cluster_queue{", "weir_loop_sessions{"} {
				if strings.HasPrefix(name, gauge) && v != 0 {
					busy = fmt.Sprintf("%s is %g", name, v)
				}
			}
		}
		open := 0
		for _, h := range s.faults.hosts {
			open += h.sessions()
		}
		if busy == "" && open == 0 {
			return
		}
		if time.Now().After(end) {
			s.verifier.report("20 s after the last session: %s; servers have %d connections", busy, open)
			return
		}
	}
}

// waitRecords waits for the last records and reports records without a session.
func (s *soak) waitRecords() {
	for end := time.Now().Add(recordTimeout + 2*time.Second); s.verifier.verifyEnded(time.Now()) > 0 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	for _, r := range s.verifier.unmatchedRecords() {
		s.verifier.report("a record without a session: %+v", r)
	}
}

// minFootprint returns the minimum footprint of two seconds, because checks and API requests come and go.
func (s *soak) minFootprint() (footprint, error) {
	least, err := s.weir.footprint()
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		f, err := s.weir.footprint()
		if err != nil {
			return f, err
		}
		for kind, n := range least.descriptors {
			least.descriptors[kind] = min(n, f.descriptors[kind])
		}
		least.goroutines, least.rss = min(least.goroutines, f.goroutines), f.rss
	}
	return least, err
}

// idleFootprint returns the footprint of an idle weir, after a time in which it frees its reserves.
func (s *soak) idleFootprint() (footprint, error) {
	time.Sleep(4 * time.Second)
	return s.minFootprint()
}

// idleWorkers is how many goroutines weir may keep for checks after it has needed them.
const idleWorkers = 32

// checkLeaks compares the footprint with the one before.
func (s *soak) checkLeaks(before footprint) footprint {
	var after footprint
	for range 5 {
		var err error
		if after, err = s.minFootprint(); err != nil {
			s.verifier.report("footprint: %v", err)
			return after
		}
		if maps.Equal(kinds(before), kinds(after)) && after.goroutines <= before.goroutines+idleWorkers {
			break
		}
	}
	if !maps.Equal(kinds(before), kinds(after)) || after.goroutines > before.goroutines+idleWorkers {
		s.verifier.report("leak: descriptors %v, then %v; goroutines %d, then %d", kinds(before), kinds(after), before.goroutines, after.goroutines)
	}
	if grown := after.rss - before.rss; grown > before.rss+64<<20 {
		s.verifier.report("resident memory has grown from %d to %d MB", before.rss>>20, after.rss>>20)
	}
	return after
}

// kinds returns the descriptors without those that depend on the Go runtime, which opens its poller on first use.
func kinds(f footprint) map[string]int {
	k := maps.Clone(f.descriptors)
	delete(k, "eventpoll")
	delete(k, "eventfd")
	return k
}

// checkCounters compares weir's counters of the permanent listeners with the sums of its records. The records were
// compared with what clients and servers saw.
func (s *soak) checkCounters() {
	m, err := s.weir.metrics()
	if err != nil {
		s.verifier.report("metrics: %v", err)
		return
	}
	j := s.verifier
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := m["weir_session_records_dropped_total"]; n != 0 {
		j.reportLocked("%g session records were dropped", n)
	}
	same := func(what string, got, want float64) {
		if got != want {
			j.reportLocked("%s is %g, and the sum of what was seen is %g", what, got, want)
		}
	}
	for _, name := range []string{"l0", "l1", flowsName} {
		total := 0
		for end, n := range j.ends[name] {
			total += n
			phase, reason, _ := strings.Cut(end, " ")
			key := fmt.Sprintf("weir_sessions_ended_total{listener=%q,phase=%q,reason=%q}", name, phase, reason)
			same(key, m[key], float64(n))
		}
		label := fmt.Sprintf("{listener=%q}", name)
		same("weir_sessions_total"+label, m["weir_sessions_total"+label], float64(total))
		same("weir_sent_to_servers_bytes_total"+label, m["weir_sent_to_servers_bytes_total"+label], float64(j.up[name]))
		same("weir_sent_to_clients_bytes_total"+label, m["weir_sent_to_clients_bytes_total"+label], float64(j.down[name]))
		rejected := 0.0
		for key, v := range m {
			if strings.HasPrefix(key, "weir_sessions_refused_total{") && strings.Contains(key, fmt.Sprintf("listener=%q", name)) {
				rejected += v
			}
		}
		if name == flowsName { // a UDP client only sees that no reply came
			if rejected > float64(j.tally.lost+j.tally.missing) {
				j.reportLocked("%g flows were rejected, but only %d datagrams were lost", rejected, j.tally.lost+j.tally.missing)
			}
			if dropped := overflows() - s.overflowsBefore; j.tally.missing > dropped {
				j.reportLocked("%d datagrams are missing, and only %d were dropped by sockets", j.tally.missing, dropped)
			}
			continue
		}
		same("weir_sessions_refused_total of "+name, rejected, float64(j.rejected[name]))
	}
}

func (s *soak) progress() {
	j := s.verifier
	j.mu.Lock()
	defer j.mu.Unlock()
	total := 0
	for _, n := range j.outcomes {
		total += n
	}
	fmt.Fprintf(s.Out, "%4.0fs  %d sessions, %d complete, %d MB, %d reloads, %d requests, %d problems\n",
		time.Since(s.begun).Seconds(), total, j.outcomes[outcomeComplete], j.bytes>>20, s.faults.reloads.Load(), s.faults.requests.Load(), j.problemCount)
	for ; s.shown < len(j.problems); s.shown++ {
		fmt.Fprintln(s.Out, "WRONG:", j.problems[s.shown])
	}
}

// report writes the summary and the problems.
func (s *soak) report(before, after footprint) error {
	j := s.verifier
	j.mu.Lock()
	defer j.mu.Unlock()
	t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	row := func(what string, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", what, fmt.Sprintf(format, args...))
	}
	for _, o := range slices.Sorted(maps.Keys(j.outcomes)) {
		row("clients: "+string(o), "%d", j.outcomes[o])
	}
	rejected := 0
	for _, n := range j.rejected {
		rejected += n
	}
	row("clients: rejected by a limit", "%d", rejected)
	row("datagrams sent, echoed, lost", "%d, %d, %d", j.tally.sent, j.tally.answered, j.tally.lost)
	row("datagrams missing, overflows of this host", "%d, %d", j.tally.missing, overflows()-s.overflowsBefore)
	row("bytes seen by clients", "%d MB", j.bytes>>20)
	ends := map[string]int{}
	for _, of := range j.ends {
		for end, n := range of {
			ends[end] += n
		}
	}
	for _, end := range slices.Sorted(maps.Keys(ends)) {
		row("weir: "+end, "%d", ends[end])
	}
	done := s.faults.faultLog.count()
	row("servers killed", "%d", done[killed])
	row("reloads", "%d with %d changes", s.faults.reloads.Load(), s.faults.changes.Load())
	row("upgrades", "%d", s.weir.upgrades)
	row("suspensions of weir", "%d", done[suspended])
	row("requests of the API", "%d", s.faults.requests.Load())
	row("servers down because of a busy machine", "%d", done[slow])
	row("states overridden, sessions cut", "%d, %d", done[maint], done[kill])
	row("descriptors before, after", "%v, %v", kinds(before), kinds(after))
	row("goroutines before, after", "%d, %d", before.goroutines, after.goroutines)
	row("resident memory before, after", "%d MB, %d MB", before.rss>>20, after.rss>>20)
	row("problems", "%d", j.problemCount)
	_ = t.Flush()
	for _, w := range j.problems {
		fmt.Fprintln(s.Out, "WRONG:", w)
	}
	if j.problemCount > 0 {
		return fmt.Errorf("%d problems; repeat with seed %d", j.problemCount, s.Seed)
	}
	return nil
}
