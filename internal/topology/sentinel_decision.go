package topology

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// vote is what one Sentinel last said about the primary.
type vote struct {
	sentinel string // its address as configured
	id       string // its own name; "" = unknown
	state    voteState
	target   target    // named: the primary
	epoch    uint64    // named: its config-epoch
	asked    time.Time // named: when the question was sent
	received time.Time // named: when the reply arrived
	reason   string    // failed: why there is no answer
}

type voteState uint8

const (
	pending voteState = iota // not asked yet, or its answer has become too old
	named
	failed
)

// decision is the state of the decision about the primary. It changes only in step and reset.
//
//	votes                                                 primary              stale  problem
//	one address has quorum votes, its epoch ≥ fence       that address         no     -
//	two addresses have (only if quorum is below majority) none; nothing closes no     conflict
//	one address has, its epoch < fence                    unchanged            yes    epoch below the fence
//	quorum Sentinels answer, no address has quorum votes  unchanged            yes    no quorum; both after splitGrace
//	fewer than quorum answer                              unchanged            yes    lost quorum
//	pending votes can still change the row                unchanged            as it was
//	an address has quorum votes for the first time, but   unchanged            as it was
//	some are older than the newest by more than span
//
// For a change, each of the quorum votes needs an epoch of at least the fence: a Sentinel takes over address and epoch of a
// failover together, so one that names the new primary with an older epoch has not taken part and names it by chance.
//
// The epoch of an address is the highest among its votes. One Sentinel alone can raise it, but not the fence, which is the
// highest epoch that quorum votes for one address have reached.
type decision struct {
	primary  target // its address is "" before the first decision
	previous target // the primary before it
	epoch    uint64
	fence    uint64
	rivals   []target // in a conflict: the addresses that have quorum votes

	decidedAt    time.Time // when primary became the primary; zero = there is no decision
	evidence     time.Time // the latest vote for it while it had quorum votes
	lastEvidence time.Time // evidence of the primary before it

	stale      time.Time // zero = confirmed
	splitSince time.Time // since when answers disagree without a quorum; zero = they do not
	problem    string

	// confirm: an address that is not the primary has quorum votes, and some of them are too old to decide.
	confirm bool
}

// splitGrace is how long Sentinels may disagree before that is a problem. They inform each other of a failover every two
// seconds.
const splitGrace = 5 * time.Second

// candidate is an address with its votes.
type candidate struct {
	target target
	epochs []uint64    // highest first
	asked  []time.Time // latest first
	newest time.Time   // when the latest vote was received
}

// agreedWithin reports whether quorum votes were given within span.
func (c *candidate) agreedWithin(span time.Duration, quorum int) bool {
	return c.asked[0].Sub(c.asked[quorum-1]) <= span
}

// majority returns how many of n are a majority.
func majority(n int) int { return n/2 + 1 }

// reset drops the fence. The primary stays in force until the Sentinels have been asked.
func (d *decision) reset() { d.fence = 0 }

// step takes the current votes of all Sentinels. Votes for another primary count together if they were given within span:
// Sentinels that named it one after the other have not agreed.
func (d *decision) step(votes []vote, quorum int, span time.Duration, now time.Time) {
	d.confirm = false
	list, answers, waiting := candidates(votes)
	var chosen []candidate
	var below *candidate
	for i, c := range list {
		switch {
		case len(c.epochs) < quorum:
		case c.epochs[0] < d.fence:
			below = &list[i]
		case !c.target.same(d.primary) && c.epochs[quorum-1] < d.fence:
		case !c.target.same(d.primary) && !c.agreedWithin(span, quorum):
			d.confirm = true
		default:
			chosen = append(chosen, c)
		}
	}
	if d.confirm {
		return
	}
	// A vote that is pending can lead to a decision, or, if less than a majority decides, to a conflict.
	if waiting > 0 && answers+waiting >= quorum && (len(chosen) == 0 || quorum < majority(len(votes))) {
		return
	}
	split := d.splitSince
	d.splitSince = time.Time{}
	switch {
	case len(chosen) > 1:
		d.rivals, d.stale = []target{chosen[0].target, chosen[1].target}, time.Time{}
		d.problem = fmt.Sprintf("conflict: %s and %s are each named by %d Sentinels or more", chosen[0].target.address, chosen[1].target.address, quorum)
	case len(chosen) == 1:
		d.accept(chosen[0], quorum, now)
	case below != nil:
		d.lose(now, fmt.Sprintf("%d Sentinels name %s with epoch %d, and an earlier decision had epoch %d; if the Sentinels were installed again, "+
			"reset the topology", len(below.epochs), below.target.address, below.epochs[0], d.fence))
	case answers >= quorum:
		d.splitSince = split
		if split.IsZero() {
			d.splitSince = now
		} else if now.Sub(split) >= splitGrace {
			d.lose(now, fmt.Sprintf("no quorum: %d Sentinels name %d addresses, and none has %d votes", answers, len(list), quorum))
		}
	default:
		d.lose(now, fmt.Sprintf("lost quorum: %d of %d Sentinels answer, want %d", answers, len(votes), quorum))
	}
}

// accept makes a candidate the primary.
func (d *decision) accept(c candidate, quorum int, now time.Time) {
	known := d.primary.same(c.target)
	if !known {
		d.previous, d.primary = d.primary, c.target
	} else if len(c.target.addresses) > 0 {
		d.primary.addresses = c.target.addresses
	}
	if !known || d.decidedAt.IsZero() {
		d.lastEvidence, d.evidence, d.decidedAt = d.evidence, time.Time{}, now
	}
	d.epoch, d.fence = c.epochs[0], max(d.fence, c.epochs[quorum-1])
	if c.newest.After(d.evidence) {
		d.evidence = c.newest
	}
	d.rivals, d.stale, d.problem = nil, time.Time{}, ""
}

// lose records that the decision is not confirmed, and why.
func (d *decision) lose(now time.Time, problem string) {
	if d.stale.IsZero() {
		d.stale = now
	}
	d.problem = problem
}

// candidates groups the votes by address, and counts the Sentinels that answer and those whose vote is pending. A
// Sentinel that is listed twice has one vote.
func candidates(votes []vote) (list []candidate, answers, waiting int) {
	for i, v := range votes {
		switch {
		case v.state == pending:
			waiting++
			continue
		case v.state == failed, twin(votes, i) >= 0:
			continue
		}
		answers++
		at := slices.IndexFunc(list, func(c candidate) bool { return c.target.same(v.target) })
		if at < 0 {
			at = len(list)
			list = append(list, candidate{target: v.target})
		}
		c := &list[at]
		c.epochs, c.asked = append(c.epochs, v.epoch), append(c.asked, v.asked)
		if v.received.After(c.newest) {
			c.newest = v.received
		}
	}
	for _, c := range list {
		slices.SortFunc(c.epochs, func(a, b uint64) int { return cmp.Compare(b, a) })
		slices.SortFunc(c.asked, func(a, b time.Time) int { return b.Compare(a) })
	}
	return list, answers, waiting
}

// twin returns the index of another entry that is the same Sentinel and whose vote counts instead of this one: a newer
// vote, or an equally new one before it. It returns -1 if there is none.
func twin(votes []vote, i int) int {
	v := votes[i]
	if v.id == "" || v.state != named {
		return -1
	}
	return slices.IndexFunc(votes, func(o vote) bool {
		return o.id == v.id && o.state == named && (o.received.After(v.received) || o.received.Equal(v.received) && o.sentinel < v.sentinel)
	})
}
