package engine

import (
	"time"

	"weir/balance"
	"weir/l4"
)

// A departure is a listener, a server or an address of a server that has left the configuration, and when its sessions are cut.
// The new process of an upgrade continues with it.
type departure struct {
	Listener string        `json:"listener,omitempty"` // address; else
	UDP      bool          `json:"udp,omitempty"`      // of the listener
	Cluster  string        `json:"cluster,omitempty"`
	Server   string        `json:"server,omitempty"`
	At       string        `json:"at,omitempty"` // the address of the server
	Deadline time.Duration `json:"deadline"`     // on the data plane's clock
}

// departures returns those whose deadline is to come.
func (d *drains) departures() (list []departure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.open {
		deadline := d.plane.Now() + time.Until(r.deadline)
		for _, ln := range r.listeners {
			if d.left[ln] == r.number {
				list = append(list, departure{Listener: ln.Address().String(), UDP: ln.UDP(), Deadline: deadline})
			}
		}
		for _, s := range r.servers {
			if s.Lasts() {
				list = append(list, departure{Cluster: s.Server.Cluster(), Server: s.Server.Name(), At: s.AddressText(), Deadline: deadline})
			}
		}
	}
	return list
}

// departedObjects are listeners, servers and addresses of servers that sessions of the old process use and the configuration of
// this one lacks. Their sessions continue until the drain deadline that they had in the old process, or else have here.
type departedObjects struct {
	engine     *Engine
	listeners  map[string]*l4.Listener       // by address
	admissions map[string]*l4.AdmissionState // by listener name
	deadlines  map[departure]time.Duration   // in the old process; the keys have none
	closeBy    map[departure]time.Duration   // likewise, of the gentle closing of their sessions
	servers    map[departure]*departedServer // the keys have no deadline
	flows      map[string]*l4.Listener       // UDP listeners by identity, which drain; without those that have closed
}

// departedServer is a departure that sessions of the old process have.
type departedServer struct {
	balance.Departure
	until time.Duration // on the data plane's clock
}

func newDepartedObjects(e *Engine) *departedObjects {
	d := &departedObjects{
		engine: e, listeners: map[string]*l4.Listener{}, admissions: map[string]*l4.AdmissionState{},
		deadlines: map[departure]time.Duration{}, closeBy: map[departure]time.Duration{}, servers: map[departure]*departedServer{},
		flows: map[string]*l4.Listener{},
	}
	d.readDeadlines()
	return d
}

// readDeadlines reads the deadlines in the last state of the old process.
func (d *departedObjects) readDeadlines() {
	s := d.engine.oldProcess.state
	if s == nil {
		return
	}
	for _, old := range s.Departures {
		deadline := old.Deadline
		old.Deadline = 0
		d.deadlines[old] = deadline
	}
	for _, c := range s.Closings {
		if c.At != "" {
			d.closeBy[departure{Cluster: c.Cluster, Server: c.Server, At: c.At}] = c.Deadline
		}
	}
}

// lateCut is how long the sessions of a departure have that arrive after its deadline.
const lateCut = 100 * time.Millisecond

// retire lets the sessions of what has left drain, and returns their deadline. key has no deadline.
func (d *departedObjects) retire(r retired, key departure) (until time.Duration) {
	now := d.engine.plane.Now()
	r.awaited, r.timeout = true, d.engine.running.Load().cfg.Runtime.DrainTimeout
	if deadline, known := d.deadlines[key]; known {
		r.timeout = max(deadline-now, lateCut)
	}
	if deadline, known := d.closeBy[key]; known {
		r.closeBy = max(deadline, now+lateCut)
	}
	d.engine.drains.start(r)
	return now + r.timeout
}

// expect makes a server of a cluster, or its address, drain for the sessions of the old process.
func (d *departedObjects) expect(c *balance.Cluster, at *l4.Binding) {
	key, now := departure{Cluster: at.Cluster, Server: at.Server, At: at.At}, d.engine.plane.Now()
	target := at.DepartedTarget()
	target.SetStats(d.engine.plane.NewServerStats())
	if left, added := c.Expect(at.Server, at.At, target, now); added {
		d.servers[key] = &departedServer{left, d.retire(retired{servers: []balance.Departure{left}}, key)}
		return
	}
	if s := d.servers[key]; s != nil && s.Lasts() && now >= s.until {
		s.until = d.retire(retired{servers: []balance.Departure{s.Departure}}, key)
	}
}
