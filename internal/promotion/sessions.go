package promotion

import (
	"errors"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// reuseAfter is when a free record may be used again: a program that has found it before its keys were deleted has ended by
// then. Programs run for microseconds.
const reuseAfter = 100 * time.Millisecond

// Errors of AddFlow.
var (
	ErrFull       = errors.New("every record is in use")
	ErrFamilies   = errors.New("client and server have different address families")
	ErrTaken      = errors.New("another session has the same addresses")
	ErrNoRoute    = errors.New("no route from the local address")
	ErrInterfaces = errors.New("the packets leave through an interface without the program, or one leg is on the loopback interface and the other is not")
)

// Number identifies a session in a Kernel.
type Number int

// Leg is the connection or flow of a session with one of its hosts.
type Leg struct {
	Remote, Local netip.AddrPort
	Interface     int // index of the one that packets to the host leave through; 0 = by the routes
}

// AddFlow promotes a UDP flow. From then on the kernel forwards its datagrams as soon as it has seen one of each direction
// on interfaces that it can forward between; until then they arrive at the sockets.
func (k *Kernel) AddFlow(client, server Leg) (Number, error) {
	if client.Remote.Addr().Is4() != server.Remote.Addr().Is4() {
		return 0, ErrFamilies
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	leaves, err := k.findRoutes([2]Leg{client, server})
	if err != nil {
		return 0, err
	}
	return k.add([2]Leg{client, server}, leaves)
}

// add promotes a flow whose packets leave through the given interfaces, by direction. mu is held.
func (k *Kernel) add(legs [2]Leg, leaves [2]uint32) (Number, error) {
	n, ok := k.take()
	if !ok {
		return 0, ErrFull
	}
	r := &k.records[n]
	*r = record{}
	keys := &k.keysOf[n]
	k.legsOf[n] = legs
	for i := range 2 {
		from, to := legs[i], legs[1-i]
		keys[i] = key{Protocol: unix.IPPROTO_UDP}
		keys[i].Source, keys[i].SourcePort = addressOf(from.Remote)
		keys[i].Dest, keys[i].DestPort = addressOf(from.Local)
		d := &r.directions[i]
		d.source, d.sourcePort = addressOf(to.Local)
		d.dest, d.destPort = addressOf(to.Remote)
		d.leaves = leaves[i]
	}
	atomic.StoreUint32(&r.state, stateWatch)
	for i := range 2 {
		if err := k.keys.Update(&keys[i], uint32(2*n+i), ebpf.UpdateNoExist); err != nil {
			if i > 0 {
				_ = k.keys.Delete(&keys[0])
			}
			k.give(n)
			switch {
			case errors.Is(err, ebpf.ErrKeyExist):
				return 0, ErrTaken
			case errors.Is(err, unix.E2BIG):
				return 0, ErrFull
			}
			return 0, err
		}
	}
	return Number(n), nil
}

// take returns a free record. mu is held.
func (k *Kernel) take() (int, bool) {
	switch {
	case k.closed:
		return 0, false
	case len(k.keysOf) < len(k.records):
		k.keysOf, k.legsOf = append(k.keysOf, [2]key{}), append(k.legsOf, [2]Leg{})
		return len(k.keysOf) - 1, true
	case len(k.freed) > 0 && time.Since(k.freed[0].at) >= reuseAfter:
		n := k.freed[0].number
		k.freed = k.freed[1:]
		return n, true
	}
	return 0, false
}

// give returns a record whose keys are deleted. mu is held.
func (k *Kernel) give(n int) {
	atomic.StoreUint32(&k.records[n].state, stateFree)
	k.freed = append(k.freed, free{n, time.Now()})
}

// Remove ends the promotion of a session: its packets arrive at the sockets again. It returns all that has passed.
func (k *Kernel) Remove(n Number) Traffic {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return Traffic{}
	}
	r := &k.records[n]
	t := r.traffic() // with the state
	atomic.StoreUint32(&r.state, stateFree)
	r.awaitPackets()
	t.Up, t.Down = r.directions[0].count(), r.directions[1].count()
	for i := range k.keysOf[n] {
		_ = k.keys.Delete(&k.keysOf[n][i]) // it exists
	}
	k.give(int(n))
	return t
}

// maxInside is how long a packet may take from the program's look at the state until it is counted: more only if the processor
// was taken from this host.
const maxInside = 5 * time.Millisecond

// awaitPackets waits until the packets are counted that the program has begun to forward. The state is changed.
func (r *record) awaitPackets() {
	if atomic.LoadUint32(&r.inside) == 0 {
		return
	}
	for began := time.Now(); atomic.LoadUint32(&r.inside) != 0 && time.Since(began) < maxInside; {
		runtime.Gosched()
	}
}

// Suspend leaves the packets of all sessions to user space, until Resume is called for each: the routes have changed.
func (k *Kernel) Suspend() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	for i := range k.keysOf {
		r := &k.records[i]
		if !atomic.CompareAndSwapUint32(&r.state, stateForward, stateCheck) {
			atomic.CompareAndSwapUint32(&r.state, stateWatch, stateCheck)
		}
	}
}

// Resume lets the kernel forward a suspended session again, from the next packet on. It returns an error if it must be removed: its packets leave through another
// interface now.
func (k *Kernel) Resume(n Number) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	r := &k.records[n]
	leaves, err := k.findRoutes(k.legsOf[n])
	if err != nil {
		return err
	}
	if leaves != [2]uint32{r.directions[0].leaves, r.directions[1].leaves} {
		return ErrInterfaces
	}
	atomic.CompareAndSwapUint32(&r.state, stateCheck, stateWatch)
	return nil
}

// State is how far the promotion of a session has come.
type State uint8

// The states.
const (
	Watching   State = iota // the kernel has not seen both directions
	Forwarding              // it forwards
	Suspended               // by Suspend
	Moved                   // packets have come another way: they are left to user space for good
	TooBig                  // a router has refused a packet for its size: likewise
)

// Traffic is what the kernel has forwarded of a session.
type Traffic struct {
	State    State
	Up, Down Direction
}

// Direction is what the kernel has forwarded in one direction.
type Direction struct {
	Packets, Bytes uint64        // bytes without headers
	Last           time.Duration // when the last packet passed, on CLOCK_MONOTONIC
}

// Traffic returns what has passed so far.
func (k *Kernel) Traffic(n Number) Traffic {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return Traffic{}
	}
	return k.records[n].traffic()
}

func (r *record) traffic() Traffic {
	t := Traffic{Up: r.directions[0].count(), Down: r.directions[1].count()}
	switch atomic.LoadUint32(&r.state) {
	case stateForward:
		t.State = Forwarding
	case stateCheck:
		t.State = Suspended
	case stateMoved:
		t.State = Moved
	case stateTooBig:
		t.State = TooBig
	}
	return t
}

func (d *direction) count() Direction {
	return Direction{atomic.LoadUint64(&d.packets), atomic.LoadUint64(&d.bytes), time.Duration(atomic.LoadUint64(&d.last))}
}
