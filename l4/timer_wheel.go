package l4

// The timer wheel of a loop. Timers are armed, moved and stopped in constant time, with one clock read per wake-up. It
// is the hierarchical wheel of Varghese and Lauck (SOSP 1987) with six bits per level, as in the Linux kernel before
// 4.8: a timer is in the coarsest level that distinguishes it from now, and moves down one level each time its slot
// comes up. It fires in its own tick, never early and at most one tick late.

import (
	"math/bits"
	"time"
)

const (
	wheelTick   = time.Millisecond
	wheelBits   = 6
	wheelSlots  = 1 << wheelBits
	wheelLevels = 6 // 64^6 ms: two years
)

// timer is one deadline, embedded in its owner. The zero value is a stopped timer.
type timer[T any] struct {
	owner      T
	next, prev *timer[T]
	tick       uint64 // when it fires
	level      uint8
	slot       uint8
	armed      bool
}

type wheel[T any] struct {
	slots    [wheelLevels][wheelSlots]*timer[T]
	occupied [wheelLevels]uint64 // bit per slot that holds a timer
	now      uint64              // the last tick that was run
}

// arm starts or moves the timer, to fire at the first tick not before at.
func (w *wheel[T]) arm(t *timer[T], at time.Duration) {
	w.stop(t)
	t.tick = uint64((at + wheelTick - 1) / wheelTick)
	if t.tick <= w.now {
		t.tick = w.now + 1
	}
	w.insert(t)
}

func (w *wheel[T]) insert(t *timer[T]) {
	tick := t.tick
	level := 0
	if x := tick ^ w.now; x != 0 {
		level = (63 - bits.LeadingZeros64(x)) / wheelBits
	}
	if level >= wheelLevels {
		level = wheelLevels - 1 // more than two years: inserted again when the top slot comes up
		tick = w.now | 1<<(wheelBits*wheelLevels) - 1
	}
	slot := tick >> (level * wheelBits) & (wheelSlots - 1)
	t.level, t.slot, t.armed = uint8(level), uint8(slot), true
	head := w.slots[level][slot]
	t.prev, t.next = nil, head
	if head != nil {
		head.prev = t
	}
	w.slots[level][slot] = t
	w.occupied[level] |= 1 << slot
}

// stop stops a timer, if it is armed.
func (w *wheel[T]) stop(t *timer[T]) {
	if !t.armed {
		return
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		w.slots[t.level][t.slot] = t.next
		if t.next == nil {
			w.occupied[t.level] &^= 1 << t.slot
		}
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.next, t.prev, t.armed = nil, nil, false
}

// next returns the time at which advance has work, or false if no timer is armed.
func (w *wheel[T]) next() (time.Duration, bool) {
	for level := range wheelLevels {
		if tick, ok := w.slotAhead(level); ok {
			return time.Duration(tick) * wheelTick, true
		}
	}
	return 0, false
}

// slotAhead returns the first tick of the nearest occupied slot of a level.
func (w *wheel[T]) slotAhead(level int) (uint64, bool) {
	shift := level * wheelBits
	at := w.now >> shift & (wheelSlots - 1)
	// A slot at or behind the current one of its level is empty: its timers have fired or moved down.
	ahead := w.occupied[level] &^ (1<<(at+1) - 1)
	if ahead == 0 {
		return 0, false
	}
	slot := uint64(bits.TrailingZeros64(ahead))
	return w.now>>shift&^(wheelSlots-1)<<shift | slot<<shift, true
}

// due reports whether a timer is due at now. If not, the wheel moves on.
func (w *wheel[T]) due(now time.Duration) bool {
	target := uint64(now / wheelTick)
	if w.now >= target {
		return false
	}
	if at, ok := w.next(); ok && uint64(at/wheelTick) <= target {
		return true
	}
	w.now = target
	return false
}

// advance stops every timer that is due at now and calls fire with its owner. fire may arm and stop timers, including
// the one that fired.
func (w *wheel[T]) advance(now time.Duration, fire func(T)) {
	target := uint64(now / wheelTick)
	for w.now < target {
		due, ok := w.next()
		if tick := uint64(due / wheelTick); !ok || tick > target {
			w.now = target
			return
		} else {
			w.now = tick
		}
		// Entering a new slot of a coarse level moves its timers down, coarsest first.
		for level := wheelLevels - 1; level > 0; level-- {
			if w.now&(1<<(level*wheelBits)-1) == 0 {
				w.fall(level)
			}
		}
		slot := w.now & (wheelSlots - 1)
		for t := w.slots[0][slot]; t != nil; t = w.slots[0][slot] {
			w.stop(t)
			fire(t.owner)
		}
	}
}

func (w *wheel[T]) fall(level int) {
	slot := w.now >> (level * wheelBits) & (wheelSlots - 1)
	for t := w.slots[level][slot]; t != nil; t = w.slots[level][slot] {
		w.stop(t)
		w.insert(t)
	}
}
