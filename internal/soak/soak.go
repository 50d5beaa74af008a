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

// Options are what a run needs.
type Options struct {
	Binary  string        // the weir under test
	Child   []string      // the command of a server in a process of its own: Serve, with the index and the address as arguments
	Time    time.Duration // how long everything goes on
	Seed    uint64
	Clients int           // at once
	Pause   time.Duration // between two sessions of a client, on average
	Out     io.Writer     // a line every ten seconds, and the report
}

// Run soaks a weir, writes what it found, and returns an error that counts what was wrong.
func Run(o Options) error {
	dir, err := os.MkdirTemp("", "weirsoak")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &soak{Options: o, begun: time.Now(), spilt: overflows()}
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
	begun  time.Time
	spilt  int // by sockets of this host before
	judge  *judge
	chaos  *chaos
	weir   *process
	lastID atomic.Uint64
}

// address is on a loopback network that is this run's own.
func address(host, port int) string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d:%d", 64+pid>>8%128, pid%256, host, port)
}

func (s *soak) run(dir string) error {
	var places []place
	for i := range serverCount {
		places = append(places, place{fmt.Sprintf("s%d", i), address(10+i, 7000), i / (serverCount / 2)})
	}
	var listen []string
	for i := range listenerCount {
		listen = append(listen, address(100+i, 7000))
	}
	books := &ledger{}
	mortal := map[string]bool{}
	first := newWorld("unix:"+adminSocket(dir), places, listen)
	first.flows = address(120, 7000)
	for i := range echoCount {
		first.echoes = append(first.echoes, place{name: fmt.Sprintf("u%d", i), address: address(30+i, 7000)})
	}
	s.judge = newJudge(books, places, mortal)
	for _, at := range first.echoes {
		s.judge.echoes = append(s.judge.echoes, at.name)
	}
	s.chaos = &chaos{judge: s.judge, ledger: books, first: first, now: first, open: map[string]func(){}}
	add := func(name string, h host) error {
		s.chaos.hosts, s.chaos.called = append(s.chaos.hosts, h), append(s.chaos.called, name)
		return h.start()
	}
	defer func() {
		for _, h := range s.chaos.hosts {
			h.stop()
		}
	}()
	for i, at := range places {
		var h host = newServer(i, at.address, s.judge.addVisit)
		if i%4 == 2 && len(s.Child) > 0 {
			h = &child{command: s.Child, index: i, address: at.address, report: s.judge.addVisit}
			mortal[at.name] = true
		}
		if err := add(at.name, h); err != nil {
			return err
		}
	}
	for _, at := range first.echoes {
		if err := add(at.name, &datagramServer{address: at.address}); err != nil {
			return err
		}
	}
	var err error
	if s.weir, err = launch(s.Binary, dir, first.String(), s.judge.addRecord); err != nil {
		return err
	}
	defer s.weir.kill()
	s.chaos.weir = s.weir
	for _, name := range names(first.absent()) {
		s.chaos.open["absent "+name] = books.begin(absence, name)
	}

	s.clients(rand.New(rand.NewPCG(s.Seed, 1000)), 2*time.Second, false) // so that what is only allocated once is there
	s.quiet()
	before, err := s.rest()
	if err != nil {
		return err
	}
	s.clients(rand.New(rand.NewPCG(s.Seed, 0)), s.Time, true)
	s.chaos.calm()
	s.quiet()
	s.settle()
	after := s.leaks(before)
	s.counters()
	if after.goroutines > before.goroutines+idleWorkers {
		fmt.Fprintln(s.Out, s.weir.goroutines())
	} else if err := s.weir.stop(); err != nil {
		s.judge.complain("%v", err)
	}
	for _, line := range s.weir.trouble() {
		s.judge.complain("log: %s", line)
	}
	return s.report(before, after)
}

// clients works for a while, in the middle of chaos or in peace. It returns when the last session has ended.
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
				s.judge.addPassage(p)
				switch {
				case p.server < 0: // nobody served: no storm while there is nobody
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
				t, wrong := flow(ctx, mine, id, ports.take(), s.chaos.first.flows, func(since time.Time) bool {
					return s.chaos.ledger.any(since.Add(-moment), time.Now(), append([]string{flowsName}, s.judge.echoes...), death, limit)
				})
				s.judge.addFlow(id, t, wrong)
			}
		})
	}
	if wild {
		for _, do := range []func(context.Context, *rand.Rand){s.chaos.murders, s.chaos.reloading, s.chaos.operating, s.chaos.watching, s.chaos.upgrading} {
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
			s.judge.settle(now)
			if wild && n%10 == 0 {
				s.progress()
			}
		}
	}
}

// ports are the local addresses that one client uses in turn. They are chosen here and not by the kernel, so that a
// session is known by its address even if it is reset before connecting has returned.
type ports struct {
	ip          netip.Addr
	first, last uint16
	next        uint16
}

const firstPort, lastPort = 10_000, 65_000

func newPorts(client, clients int) *ports {
	room := (lastPort - firstPort) / clients
	ip := netip.MustParseAddrPort(address(1+client%4, 1)).Addr()
	first := uint16(firstPort + client*room)
	return &ports{ip: ip, first: first, last: first + uint16(room) - 1, next: first}
}

func (p *ports) take() netip.AddrPort {
	port := p.next
	if p.next++; p.next > p.last {
		p.next = p.first
	}
	return netip.AddrPortFrom(p.ip, port)
}

// session makes up a session and goes through it.
func (s *soak) session(ctx context.Context, r *rand.Rand, from *ports) passage {
	sc := newScript(r, s.lastID.Add(1))
	lottery := r.IntN(listenerCount)
	anyway := r.IntN(20) == 0 // seldom at one that is not there
	base := r.IntN(lastsBase)
	for {
		s.chaos.mu.Lock()
		l := s.chaos.now.listeners[lottery]
		if !l.there && !anyway {
			l = s.chaos.now.listeners[base]
		}
		s.chaos.mu.Unlock()
		if sc.proxy = 0; l.proxied {
			sc.proxy = 1 + uint8(sc.id%2)
		}
		if p, err := sc.run(ctx, from.take(), l.name, l.address); err == nil {
			return p
		}
	}
}

const biggest = 4 << 20

// newScript is a session of a random kind.
func newScript(r *rand.Rand, id uint64) script {
	size := func(most int) uint32 { // small ones as often as large ones
		if r.IntN(20) == 0 {
			return 0
		}
		return uint32(math.Exp(r.Float64() * math.Log(float64(most))))
	}
	sc := script{
		id: id, serverReset: never, clientReset: never, chunk: 1 + size(64<<10), order: order(r.IntN(3)), up: size(biggest), down: size(biggest),
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
		sc.pause, sc.up, sc.down = uint32(1000+r.IntN(20_000)), size(1000), size(1000)
	case n < 91:
		sc.slow, sc.down = true, size(1<<20)
	default:
		sc.up, sc.down = uint32(r.IntN(10)), uint32(r.IntN(10))
	}
	sc.up, sc.down = min(sc.up, 4000*sc.chunk), min(sc.down, 4000*sc.chunk) // not for ever in single bytes
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

// quiet waits until weir has no session any more.
func (s *soak) quiet() {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		m, err := s.weir.metrics()
		if err != nil {
			s.judge.complain("metrics: %v", err)
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
		for _, h := range s.chaos.hosts {
			open += h.sessions()
		}
		if busy == "" && open == 0 {
			return
		}
		if time.Now().After(end) {
			s.judge.complain("20 s after the last session: %s; servers have %d connections", busy, open)
			return
		}
	}
}

// settle waits for the last records, and looks for some that belong to nobody.
func (s *soak) settle() {
	for end := time.Now().Add(recordPatience + 2*time.Second); s.judge.settle(time.Now()) > 0 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	for _, r := range s.judge.left() {
		s.judge.complain("a record of nobody's session: %+v", r)
	}
}

// least is the smallest that a footprint was within two seconds: checks and requests of the API come and go.
func (s *soak) least() (footprint, error) {
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

// rest is what weir has when it has nothing to do, and has done so for long enough to give back what it kept in reserve.
func (s *soak) rest() (footprint, error) {
	time.Sleep(4 * time.Second)
	return s.least()
}

// idleWorkers is how many goroutines weir may keep for checks, once it has needed them.
const idleWorkers = 32

// leaks compares what weir has with what it had before.
func (s *soak) leaks(before footprint) footprint {
	var after footprint
	for range 5 {
		var err error
		if after, err = s.least(); err != nil {
			s.judge.complain("footprint: %v", err)
			return after
		}
		if maps.Equal(kinds(before), kinds(after)) && after.goroutines <= before.goroutines+idleWorkers {
			break
		}
	}
	if !maps.Equal(kinds(before), kinds(after)) || after.goroutines > before.goroutines+idleWorkers {
		s.judge.complain("left behind: descriptors %v, then %v; goroutines %d, then %d", kinds(before), kinds(after), before.goroutines, after.goroutines)
	}
	if grown := after.rss - before.rss; grown > before.rss+64<<20 {
		s.judge.complain("resident memory has grown from %d to %d MB", before.rss>>20, after.rss>>20)
	}
	return after
}

// kinds are the descriptors that depend on what weir does: the runtime opens its own poller when it first needs one.
func kinds(f footprint) map[string]int {
	k := maps.Clone(f.descriptors)
	delete(k, "eventpoll")
	delete(k, "eventfd")
	return k
}

// counters compares weir's counters of the listeners that were always there with the sum of its records, which were
// compared with what clients and servers saw.
func (s *soak) counters() {
	m, err := s.weir.metrics()
	if err != nil {
		s.judge.complain("metrics: %v", err)
		return
	}
	j := s.judge
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := m["weir_session_records_dropped_total"]; n != 0 {
		j.note("%g session records were dropped", n)
	}
	same := func(what string, got, want float64) {
		if got != want {
			j.note("%s is %g, and the sum of what was seen is %g", what, got, want)
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
		turned := 0.0
		for key, v := range m {
			if strings.HasPrefix(key, "weir_sessions_refused_total{") && strings.Contains(key, fmt.Sprintf("listener=%q", name)) {
				turned += v
			}
		}
		if name == flowsName { // where a client only knows that no answer came
			if turned > float64(j.tally.lost+j.tally.missing) {
				j.note("%g flows were turned away, but only %d datagrams were lost", turned, j.tally.lost+j.tally.missing)
			}
			if spilt := overflows() - s.spilt; j.tally.missing > spilt {
				j.note("%d datagrams are missing, and sockets have overflown only %d times", j.tally.missing, spilt)
			}
			continue
		}
		same("weir_sessions_refused_total of "+name, turned, float64(j.refused[name]))
	}
}

func (s *soak) progress() {
	j := s.judge
	j.mu.Lock()
	defer j.mu.Unlock()
	total := 0
	for _, n := range j.outcomes {
		total += n
	}
	fmt.Fprintf(s.Out, "%4.0fs  %d sessions, %d complete, %d MB, %d reloads, %d requests, %d wrong\n",
		time.Since(s.begun).Seconds(), total, j.outcomes[complete], j.bytes>>20, s.chaos.reloads.Load(), s.chaos.requests.Load(), j.wrongs)
}

// report writes the summary, and what was wrong.
func (s *soak) report(before, after footprint) error {
	j := s.judge
	j.mu.Lock()
	defer j.mu.Unlock()
	t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	row := func(what string, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", what, fmt.Sprintf(format, args...))
	}
	for _, o := range slices.Sorted(maps.Keys(j.outcomes)) {
		row("clients: "+string(o), "%d", j.outcomes[o])
	}
	turned := 0
	for _, n := range j.refused {
		turned += n
	}
	row("clients: turned away by a limit", "%d", turned)
	row("datagrams sent, answered, lost", "%d, %d, %d", j.tally.sent, j.tally.answered, j.tally.lost)
	row("datagrams missing, overflows of this host", "%d, %d", j.tally.missing, overflows()-s.spilt)
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
	done := s.chaos.ledger.count()
	row("servers that died", "%d", done[death])
	row("reloads", "%d with %d changes", s.chaos.reloads.Load(), s.chaos.changes.Load())
	row("upgrades", "%d", s.weir.heirs)
	row("requests of the API", "%d", s.chaos.requests.Load())
	row("servers that a busy machine called down", "%d", done[slow])
	row("states overridden, sessions killed", "%d, %d", done[maint], done[kill])
	row("descriptors before, after", "%v, %v", kinds(before), kinds(after))
	row("goroutines before, after", "%d, %d", before.goroutines, after.goroutines)
	row("resident memory before, after", "%d MB, %d MB", before.rss>>20, after.rss>>20)
	row("wrong", "%d", j.wrongs)
	_ = t.Flush()
	for _, w := range j.wrong {
		fmt.Fprintln(s.Out, "WRONG:", w)
	}
	if j.wrongs > 0 {
		return fmt.Errorf("%d things were wrong; again with the same decisions: seed %d", j.wrongs, s.Seed)
	}
	return nil
}
