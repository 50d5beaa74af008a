package topology

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// votesOf parses votes such as "A7 B8 - ?": an address and an epoch, a Sentinel that does not answer, one not asked yet.
func votesOf(text string) (votes []vote) {
	for i, field := range strings.Fields(text) {
		v := vote{sentinel: fmt.Sprint("s", i)}
		switch field {
		case "-":
			v.state, v.reason = failed, "no answer"
		case "?":
		default:
			v.state, v.asked, v.received = named, start, start
			v.target = letter(field[0])
			fmt.Sscan(field[1:], &v.epoch)
		}
		votes = append(votes, v)
	}
	return votes
}

// restored returns the state of a watcher that continues a saved decision.
func restored(s Saved) decision {
	var w sentinelWatcher
	w.restore(s, start)
	return w.state
}

func letter(name byte) target { return targetOf(fmt.Sprintf("10.0.0.%d:6379", name-'A'+1)) }

// show formats a decision as its primary, epoch and fence, and what is wrong.
func show(d *decision) string {
	text := "none"
	if d.primary.address != "" && len(d.rivals) == 0 {
		text = fmt.Sprintf("%c%d", d.primary.addresses[0].Addr().As4()[3]-1+'A', d.epoch)
	}
	text += fmt.Sprintf(" fence %d", d.fence)
	if !d.stale.IsZero() {
		text += " stale"
	}
	if len(d.rivals) > 0 {
		text += " conflict"
	}
	return text
}

func TestSentinelDecision(t *testing.T) {
	const saved7 = "saved" // the decision A7 of an earlier process
	for _, c := range []struct {
		name   string
		quorum int
		steps  []string
		want   []string
	}{
		{"first quorum decides without the third", 2, []string{"? ? ?", "A7 ? ?", "A7 A7 ?"}, []string{"none fence 0", "none fence 0", "A7 fence 7"}},
		{"epoch 0", 2, []string{"A0 A0 A0"}, []string{"A0 fence 0"}},
		{"planned or not, a failover", 2, []string{"A7 A7 A7", "B8 A7 A7", "B8 B8 A7", "B8 B8 B8"}, []string{"A7 fence 7", "A7 fence 7", "B8 fence 8", "B8 fence 8"}},
		{"highest epoch among those that agree", 2, []string{"A7 A5 A3"}, []string{"A7 fence 5"}},
		{"one liar cannot raise the fence", 2, []string{"A7 A7 A999", "B8 B8 A999"}, []string{"A999 fence 7", "B8 fence 8"}},
		{"one liar changes nothing", 2, []string{"A7 A7 A7", "A7 A7 X999", "A7 X999 A7"}, []string{"A7 fence 7", "A7 fence 7", "A7 fence 7"}},
		{"lower epochs are ignored", 2, []string{"B8 B8 B8", "A7 A7 B8", "A7 A7 A7", "B8 B8 A7"}, []string{"B8 fence 8", "B8 fence 8 stale", "B8 fence 8 stale", "B8 fence 8"}},
		{"an equal epoch is accepted", 2, []string{"A7 A7 A7", "B7 B7 A7"}, []string{"A7 fence 7", "B7 fence 7"}},
		{"a change needs a quorum at the fence", 2, []string{"B8 B8 B8", "B8 A7 A9", "B8 A8 A9"}, []string{"B8 fence 8", "B8 fence 8", "A9 fence 8"}},
		{"one that lags behind names the new primary by chance", 2, []string{"B6 B6 B6", "C7 C7 B6", "B8 C7 B6", "B8 C7 C7", "B8 B8 C7"},
			[]string{"B6 fence 6", "C7 fence 7", "C7 fence 7", "C7 fence 7", "B8 fence 8"}},
		{"installed again, with the same primary", 2, []string{"A7 A7 A7", "A7 A0 -", "A0 A0 A7"}, []string{"A7 fence 7", "A7 fence 7", "A7 fence 7"}},
		{"lost quorum", 2, []string{"A7 A7 A7", "A7 - A7", "A7 - -", "- - -", "A7 - A7"}, []string{"A7 fence 7", "A7 fence 7", "A7 fence 7 stale", "A7 fence 7 stale", "A7 fence 7"}},
		{"lost quorum with another address", 2, []string{"A7 A7 A7", "B8 - -"}, []string{"A7 fence 7", "A7 fence 7 stale"}},
		{"waits for votes that can help", 2, []string{"A7 A7 A7", "A7 ? ?", "A7 ? -", "A7 - -"}, []string{"A7 fence 7", "A7 fence 7", "A7 fence 7", "A7 fence 7 stale"}},
		{"no decision without a quorum", 2, []string{"A7 - -", "A7 - B7"}, []string{"none fence 0 stale", "none fence 0 stale"}},
		{"quorum of all", 3, []string{"A7 A7 ?", "A7 A7 A7", "A7 A7 -"}, []string{"none fence 0", "A7 fence 7", "A7 fence 7 stale"}},
		{"quorum below a majority waits for all", 1, []string{"A7 ? ?", "A7 A7 ?", "A7 A7 -"}, []string{"none fence 0", "none fence 0", "A7 fence 7"}},
		{"conflict", 1, []string{"A7 A7 A7", "A7 B8 A7", "B8 B8 A7", "B8 B8 B8"}, []string{"A7 fence 7", "A7 fence 7 conflict", "A7 fence 7 conflict", "B8 fence 8"}},
		{"no conflict with an epoch below the fence", 1, []string{"B8 B8 B8", "B8 A7 B8"}, []string{"B8 fence 8", "B8 fence 8"}},
		{"conflict, then lost quorum", 2, []string{"A7 A7 B7 B7", "A7 - - -"}, []string{"none fence 0 conflict", "none fence 0 stale conflict"}},
		{"one Sentinel", 1, []string{"A7", "B8", "-", "A7"}, []string{"A7 fence 7", "B8 fence 8", "B8 fence 8 stale", "B8 fence 8 stale"}},
		{"saved", 2, []string{saved7, "? ? ?", "A7 A7 A7"}, []string{"A7 fence 7 stale", "A7 fence 7 stale", "A7 fence 7"}},
		{"saved fence", 2, []string{saved7, "B6 B6 B6", "B8 B8 B8"}, []string{"A7 fence 7 stale", "A7 fence 7 stale", "B8 fence 8"}},
		{"reset", 2, []string{"A7 A7 A7", "B0 B0 B0", "reset", "? ? ?", "B0 B0 ?"}, []string{"A7 fence 7", "A7 fence 7 stale", "A7 fence 0 stale", "A7 fence 0 stale", "B0 fence 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decision
			for i, s := range c.steps {
				switch s {
				case saved7:
					d = restored(Saved{Primary: "10.0.0.1:6379", Epoch: 7, At: start})
				case "reset":
					d.reset()
				default:
					d.step(votesOf(s), c.quorum, time.Second, start.Add(time.Duration(i)*time.Second))
				}
				got := show(&d)
				if len(d.rivals) > 0 {
					got = strings.Replace(got, "none", strings.Fields(c.want[i])[0], 1)
				}
				require.Equal(t, c.want[i], got, "after %s", s)
			}
		})
	}
}

func TestSentinelDecisionProblems(t *testing.T) {
	var d decision
	at := start
	step := func(votes string, quorum int, later time.Duration) string {
		at = at.Add(later)
		d.step(votesOf(votes), quorum, time.Second, at)
		return d.problem
	}
	require.Equal(t, "lost quorum: 1 of 3 Sentinels answer, want 2", step("A7 - -", 2, 0))
	require.Equal(t, start, d.stale)
	require.Empty(t, step("A7 A7 -", 2, time.Second))
	require.Zero(t, d.stale)
	require.Empty(t, step("A7 B7 -", 2, time.Second), "a moment of disagreement is part of every failover")
	require.Empty(t, step("A7 B7 -", 2, splitGrace-1))
	require.Equal(t, "no quorum: 2 Sentinels name 2 addresses, and none has 2 votes", step("A7 B7 -", 2, 1))
	require.Equal(t, at, d.stale)
	require.Empty(t, step("A7 A7 B7", 2, time.Second))
	require.Empty(t, step("A7 B7 -", 2, time.Hour), "a new disagreement")
	require.Contains(t, step("A6 A6 B6", 2, time.Second), "2 Sentinels name 10.0.0.1:6379 with epoch 6, and an earlier decision had epoch 7")
	require.Equal(t, "conflict: 10.0.0.1:6379 and 10.0.0.2:6379 are each named by 1 Sentinels or more", step("A7 B7 -", 1, time.Second))
	require.Equal(t, "sentinel: "+d.problem, d.source())
	step("B8 B8 B8", 1, time.Second)
	require.Equal(t, "sentinel: primary is 10.0.0.2:6379, epoch 8", d.source())
}

func TestSentinelDecisionEvidence(t *testing.T) {
	var d decision
	votes := votesOf("A7 A7 A7")
	for i := range votes {
		votes[i].received = start.Add(time.Duration(i) * time.Second)
	}
	d.step(votes, 2, time.Second, start.Add(3*time.Second))
	require.Equal(t, start.Add(3*time.Second), d.decidedAt)
	require.Zero(t, d.lastEvidence, "there was no primary before")

	votes[0] = vote{state: named, target: letter('B'), epoch: 8, asked: start.Add(4 * time.Second), received: start.Add(4 * time.Second)}
	d.step(votes, 2, time.Second, start.Add(4*time.Second))
	votes[1] = vote{state: named, target: letter('B'), epoch: 8, asked: start.Add(5 * time.Second), received: start.Add(5 * time.Second)}
	d.step(votes, 2, time.Second, start.Add(5*time.Second))
	require.Equal(t, letter('B').address, d.primary.address)
	require.Equal(t, start.Add(5*time.Second), d.decidedAt)
	require.Equal(t, start.Add(2*time.Second), d.lastEvidence, "the newest vote for the old primary while a quorum named it")
}

// Sentinels that named an address one after the other have not agreed on it.
func TestSentinelVotesOfDifferentTimes(t *testing.T) {
	var d decision
	d.step(votesOf("A7 A7 A7"), 2, time.Second, start)
	votes := votesOf("B8 B8 A7")
	votes[0].asked = start.Add(time.Second + 1)
	d.step(votes, 2, time.Second, start)
	require.Equal(t, "A7 fence 7", show(&d))
	require.True(t, d.confirm)
	votes[1].asked = start.Add(time.Second)
	d.step(votes, 2, time.Second, start)
	require.Equal(t, "B8 fence 8", show(&d))
	require.False(t, d.confirm)
	votes[0].asked = start.Add(time.Hour)
	d.step(votes, 2, time.Second, start)
	require.Equal(t, "B8 fence 8", show(&d), "the primary needs no agreement of the moment")
	require.Zero(t, d.problem)
}

// A Sentinel that is listed under two addresses has one vote.
func TestSentinelListedTwice(t *testing.T) {
	votes := votesOf("B8 B8 A7")
	votes[0].id, votes[1].id = "x", "x"
	var d decision
	d.step(votes, 2, time.Second, start)
	require.Equal(t, "none fence 0", show(&d))
	require.Equal(t, 0, twin(votes, 1))
	votes[1].received = start.Add(time.Second)
	require.Equal(t, 1, twin(votes, 0))
}

// Announced names and addresses of one server are one address.
func TestSentinelNamesOneServerInTwoWays(t *testing.T) {
	votes := votesOf("A7 A7 B7")
	votes[0].target = target{"redis-1:6379", letter('A').addresses}
	var d decision
	d.step(votes, 2, time.Second, start)
	require.Equal(t, "redis-1:6379", d.primary.address)
	votes[0].target, votes[1].target = votes[1].target, votes[0].target
	d.step(votes, 2, time.Second, start.Add(time.Second))
	require.Equal(t, "redis-1:6379", d.primary.address, "the text remains while it is the same server")
	require.Equal(t, start, d.decidedAt)
	moved := target{"redis-1:6379", letter('C').addresses}
	votes[0].target, votes[1].target = moved, moved
	d.step(votes, 2, time.Second, start.Add(2*time.Second))
	require.Equal(t, letter('C').addresses, d.primary.addresses, "the name has another address")
	require.Equal(t, start, d.decidedAt)
}

// Whatever Sentinels answer: a primary is named by a quorum at the moment of the decision, the fence never falls and is
// never raised by fewer than a quorum, and no decision is below it.
func TestSentinelDecisionProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(t, "sentinels")
		quorum := rapid.IntRange(1, n).Draw(t, "quorum")
		d := restored(Saved{Epoch: rapid.Uint64Range(0, 3).Draw(t, "saved")})
		votes := votesOf(strings.Repeat("? ", n))
		at := start
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			at = at.Add(time.Duration(rapid.IntRange(1, 3).Draw(t, "seconds")) * time.Second)
			for i := range votes {
				if rapid.Bool().Draw(t, "answers") {
					kind := rapid.SampledFrom([]string{"A", "B", "C", "-", "?"}).Draw(t, "kind")
					if kind < "?" || kind == "-" {
						votes[i] = votesOf(kind)[0]
					}
					if kind >= "A" {
						votes[i] = votesOf(fmt.Sprint(kind, rapid.IntRange(0, 6).Draw(t, "epoch")))[0]
					}
					votes[i].asked, votes[i].received = at, at
				}
			}
			before := d
			d.step(votes, quorum, time.Second, at)
			supporters := func(a target, epoch uint64) (n int) {
				for _, v := range votes {
					if v.state == named && v.target.same(a) && v.epoch >= epoch {
						n++
					}
				}
				return n
			}
			if d.fence < before.fence {
				t.Fatalf("fence fell from %d to %d", before.fence, d.fence)
			}
			if d.fence > before.fence && supporters(d.primary, d.fence) < quorum {
				t.Fatalf("fence raised to %d by less than a quorum", d.fence)
			}
			if !d.decidedAt.Equal(before.decidedAt) {
				if supporters(d.primary, 0) < quorum || d.confirm || d.epoch < before.fence || d.decidedAt != at || supporters(d.primary, d.epoch) == 0 {
					t.Fatalf("decision for %s, epoch %d", d.primary.address, d.epoch)
				}
			}
			if d.primary.address != before.primary.address && d.decidedAt.Equal(before.decidedAt) {
				t.Fatal("another primary without a decision")
			}
			if len(d.rivals) > 0 && len(before.rivals) == 0 && quorum >= majority(n) {
				t.Fatal("conflict although a majority decides")
			}
			if d.stale.IsZero() && len(d.rivals) == 0 && d.problem != "" || !d.stale.IsZero() && d.problem == "" && before.problem == "" && !d.stale.Equal(before.stale) {
				t.Fatalf("stale %v with problem %q", d.stale, d.problem)
			}
		}
	})
}

func TestSentinelMembers(t *testing.T) {
	addr := func(name byte) string { return letter(name).address }
	servers := []Server{
		{Name: "a", Address: "redis-1.example:6379", Addresses: letter('A').addresses},
		{Name: "b", Address: addr('B'), Addresses: letter('B').addresses},
		{Name: "b2", Address: addr('B'), Addresses: letter('B').addresses},
		{Name: "all", Address: "redis.example:6379", Addresses: append(letter('A').addresses, letter('B').addresses...)},
	}
	lists := func(text ...string) (out []listing) {
		for _, line := range text {
			var l listing
			for _, f := range strings.Fields(line) {
				l.replicas = append(l.replicas, listedReplica{letter(f[0]), strings.ReplaceAll(f[1:], "+", ", ")})
			}
			out = append(out, l)
		}
		return out
	}
	var d decision
	get := func(votes string, l []listing) (out []string) {
		d.step(votesOf(votes), 2, time.Second, start)
		list, _ := members(&d, votesOf(votes), l, 2, servers)
		for _, m := range list {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", m.Name, strings.TrimPrefix(m.Address, "10.0.0."), m.Role)))
		}
		return out
	}
	require.Equal(t, []string{"a 1:6379 primary"}, get("A7 A7 A7", lists("", "", "")))
	require.Equal(t, []string{"a 1:6379 primary", "b 2:6379 replica", "b2 2:6379 replica", "3:6379 replica"}, get("A7 A7 A7", lists("B C", "B", "")))
	require.Equal(t, []string{"a 1:6379 primary", "b 2:6379 other", "b2 2:6379 other", "3:6379 replica"},
		get("A7 A7 A7", lists("Bs_down+disconnected Cs_down", "Bs_down C", "B")))
	require.Equal(t, []string{"a 1:6379 primary", "b 2:6379 replica", "b2 2:6379 replica"}, get("A7 A7 B8", lists("B", "B", "As_down C")),
		"a Sentinel that names another primary does not count")
	require.Equal(t, []string{"a 1:6379 other", "b 2:6379 primary", "b2 2:6379 primary"}, get("B8 B8 B8", lists("B", "", "")),
		"lists of before the failover do not mention the old primary, and the primary is no replica")
	require.Equal(t, []string{"a 1:6379 replica", "b 2:6379 primary", "b2 2:6379 primary"}, get("B8 B8 B8", lists("A", "As_down", "A")))
	list, _ := members(&d, votesOf("B8 B8 B8"), lists("As_down", "As_down", ""), 2, servers)
	require.Equal(t, "replica is s_down", list[0].Reason)
	require.Equal(t, "sentinel: primary is 10.0.0.2:6379, epoch 8", list[1].Reason)
}

func TestSentinelMembersAreBounded(t *testing.T) {
	var d decision
	votes := votesOf("A7 A7 A7")
	d.step(votes, 2, time.Second, start)
	lists := make([]listing, 3)
	for i := range lists {
		for j := range MaxMembers {
			lists[i].replicas = append(lists[i].replicas, listedReplica{target: targetOf(fmt.Sprintf("10.%d.%d.%d:6379", i+1, j/256, j%256))})
		}
	}
	list, dropped := members(&d, votes, lists, 2, nil)
	require.Len(t, list, MaxMembers)
	require.Equal(t, 2*MaxMembers+1, dropped)
	require.Equal(t, Primary, list[0].Role, "the primary is among them")
}

func TestTargetIsServer(t *testing.T) {
	v4, v6 := letter('A').addresses[0], targetOf("[2001:db8::1]:6379").addresses[0]
	require.True(t, letter('A').is(Server{Address: "redis:6379", Addresses: letter('A').addresses}))
	require.True(t, letter('A').is(Server{Address: "redis:6379", Addresses: append(letter('A').addresses, v6)}), "a name with both families")
	require.False(t, letter('A').is(Server{Address: "redis:6379", Addresses: append(letter('A').addresses, letter('B').addresses...)}), "a name of all servers")
	require.False(t, letter('A').is(Server{Address: "redis:6380"}))
	require.True(t, target{address: "redis.example:6379"}.is(Server{Address: "Redis.Example.:6379"}), "without a resolver")
	require.True(t, target{"name:6379", append(letter('A').addresses, v6)}.is(Server{Address: v4.String(), Addresses: letter('A').addresses}))
	require.Equal(t, "10.0.0.1:6379", targetOf("[::ffff:10.0.0.1]:6379").addresses[0].String())
}
