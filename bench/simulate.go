package main

// A deterministic simulation of balancing methods: sessions of one request arrive at random, and each server works on a
// few of them at a time, in order. It shows what a method does when servers change, without the noise of a machine. Time
// is simulated, and the methods are those of package balance.

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"weir/balance"
)

// scenario is a simulated load.
type scenario struct {
	servers int
	workers int           // requests that a server works on at a time
	service time.Duration // mean time of one; uniform within ±20 %
	load    float64       // share of the capacity of all servers at their normal speed
	slow    int           // servers that become slower
	factor  float64       // by this factor
	from    time.Duration // when they become slower
	until   time.Duration // when they are as fast as before; 0 = never
	length  time.Duration
	seed    uint64
}

// simulatedServer is one server.
type simulatedServer struct {
	busy  int
	queue []*simulatedSession
	slow  bool
}

// simulatedSession is one session.
type simulatedSession struct {
	arrived time.Duration
	server  int
	done    func(now, took time.Duration) // tells the method
	needs   float64                       // of a server's mean service time
}

// chooser is a way to choose a server: it returns one, and what is called at the session's end, which may be nil.
type chooser interface {
	choose(now time.Duration, s *simulation) (server int, done func(now, took time.Duration))
}

// simulation is a run in progress.
type simulation struct {
	scenario
	now     time.Duration
	random  *rand.Rand
	all     []simulatedServer
	events  simulatedEvents
	order   int
	samples []simulatedSample
}

// simulatedSample is one ended session.
type simulatedSample struct {
	arrived, took time.Duration
	server        int
}

// simulatedEvent is the arrival of a session, or its end at a server.
type simulatedEvent struct {
	at    time.Duration
	order int // of events at one time
	ended *simulatedSession
}

type simulatedEvents []simulatedEvent

func (e simulatedEvents) Len() int { return len(e) }
func (e simulatedEvents) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e simulatedEvents) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *simulatedEvents) Push(x any)   { *e = append(*e, x.(simulatedEvent)) }
func (e *simulatedEvents) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// simulate runs a scenario with a way to choose servers and returns all sessions, in the order of their ends.
func simulate(sc scenario, c chooser) []simulatedSample {
	s := &simulation{scenario: sc, random: rand.New(rand.NewPCG(sc.seed, 1)), all: make([]simulatedServer, sc.servers)}
	for i := range sc.slow {
		s.all[i].slow = true
	}
	s.at(s.nextArrival(), nil)
	for len(s.events) > 0 {
		ev := heap.Pop(&s.events).(simulatedEvent)
		s.now = ev.at
		if ev.ended != nil {
			s.end(ev.ended)
			continue
		}
		if s.now >= sc.length {
			continue
		}
		s.at(s.now+s.nextArrival(), nil)
		session := &simulatedSession{arrived: s.now, needs: 0.8 + 0.4*s.random.Float64()}
		session.server, session.done = c.choose(s.now, s)
		server := &s.all[session.server]
		if server.busy < sc.workers {
			s.begin(session)
		} else {
			server.queue = append(server.queue, session)
		}
	}
	return s.samples
}

func (s *simulation) at(when time.Duration, ended *simulatedSession) {
	s.order++
	heap.Push(&s.events, simulatedEvent{when, s.order, ended})
}

// nextArrival returns the time until the next session: arrivals are a Poisson process.
func (s *simulation) nextArrival() time.Duration {
	rate := s.load * float64(s.servers*s.workers) / s.service.Seconds()
	return time.Duration(s.random.ExpFloat64() / rate * float64(time.Second))
}

// speed returns how much longer than normal a server takes now.
func (s *simulation) speed(server int) float64 {
	if s.all[server].slow && s.now >= s.from && (s.until == 0 || s.now < s.until) {
		return s.factor
	}
	return 1
}

func (s *simulation) begin(session *simulatedSession) {
	s.all[session.server].busy++
	s.at(s.now+time.Duration(session.needs*s.speed(session.server)*float64(s.service)), session)
}

func (s *simulation) end(session *simulatedSession) {
	server := &s.all[session.server]
	server.busy--
	took := s.now - session.arrived
	s.samples = append(s.samples, simulatedSample{session.arrived, took, session.server})
	if session.done != nil {
		session.done(s.now, took)
	}
	if len(server.queue) > 0 {
		next := server.queue[0]
		server.queue = server.queue[1:]
		s.begin(next)
	}
}

// percentile returns a percentile of the times of sessions that arrived between two times.
func percentile(samples []simulatedSample, from, until time.Duration, p float64) time.Duration {
	var times []time.Duration
	for _, s := range samples {
		if s.arrived >= from && s.arrived < until {
			times = append(times, s.took)
		}
	}
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[min(len(times)-1, int(math.Ceil(p/100*float64(len(times))))-1)]
}

// omniscient knows the queue and the speed of every server and chooses the one that would finish first.
type omniscient struct{}

func (omniscient) choose(_ time.Duration, s *simulation) (int, func(now, took time.Duration)) {
	best, least := 0, math.Inf(1)
	for i := range s.all {
		waiting := float64(max(0, s.all[i].busy+len(s.all[i].queue)-s.workers+1)) / float64(s.workers)
		if t := (waiting + 1) * s.speed(i); t < least {
			best, least = i, t
		}
	}
	return best, nil
}

// viaBalance chooses with a method of package balance.
type viaBalance struct{ cluster *balance.Cluster }

func newViaBalance(sc scenario, method string) (viaBalance, error) {
	m, ok := balance.ParseMethod(method)
	if !ok {
		return viaBalance{}, fmt.Errorf("no method %q", method)
	}
	spec := balance.Spec{Name: "simulated", Method: m, Levels: []balance.LevelSpec{{}}}
	for i := range sc.servers {
		spec.Levels[0].Servers = append(spec.Levels[0].Servers, balance.ServerSpec{Name: fmt.Sprint(i), Address: fmt.Sprint(i), Weight: 1, Handle: i})
	}
	return viaBalance{balance.New(spec, sc.seed, nil)}, nil
}

// simulatedConnect is the time of a connection: the kernel of a slow server accepts as fast as any.
const simulatedConnect = 200 * time.Microsecond

func (v viaBalance) choose(now time.Duration, _ *simulation) (int, func(now, took time.Duration)) {
	lease, err := v.cluster.Pick(now, &balance.Attempts{})
	if err != nil {
		panic(err) // every server is eligible
	}
	lease.Established(now, simulatedConnect)
	return lease.Server().Handle().(int), func(now, took time.Duration) {
		lease.Answered(now, took)
		lease.Done(now)
	}
}
