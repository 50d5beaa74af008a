package topology

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/checks"
)

func TestAnswerHoldsUntilFallFailures(t *testing.T) {
	failed, full := errors.New("refused"), &checks.FullError{Err: errors.New("no room")}
	shortage := fmt.Errorf("%w: no descriptors", checks.ErrShortage)
	const answer = "answer"
	for _, c := range []struct {
		results []any
		holds   bool
		asked   bool
	}{
		{[]any{answer}, true, true},
		{[]any{answer, failed}, true, true},
		{[]any{answer, failed, failed}, false, true},
		{[]any{answer, failed, answer, failed}, true, true},
		{[]any{answer, full, full, full, full}, true, true},
		{[]any{answer, shortage, shortage, shortage}, true, true},
		{[]any{answer, failed, shortage}, true, true},
		{[]any{answer, failed, shortage, failed}, false, true},
		{[]any{failed}, false, false},
		{[]any{failed, failed}, false, true},
		{[]any{full}, false, false},
		{[]any{shortage, shortage}, false, true},
		{[]any{failed, failed, answer}, true, true},
	} {
		n := sqlNode{}
		for i, r := range c.results {
			at := epoch.Add(time.Duration(i) * time.Second)
			if err, bad := r.(error); bad {
				n.record(nil, err, 2, at)
			} else {
				n.record(&sqlAnswer{began: at, ended: at}, nil, 2, at)
			}
		}
		require.Equal(t, c.holds, n.now != nil, "%v", c.results)
		require.Equal(t, c.asked, n.asked, "%v", c.results)
	}
}

func TestSettle(t *testing.T) {
	current, other := mysqlNode("current", writable("")), mysqlNode("other", readOnly(""))
	able, unable := []sqlRole{{able: true}, {}}, []sqlRole{{}, {}}
	unasked := func(n sqlNode) sqlNode {
		n.restart(epoch)
		return n
	}
	for _, c := range []struct {
		name  string
		nodes []sqlNode
		d     sqlDecision
		last  sqlDecision
		want  string
	}{
		{"certain", []sqlNode{current, other}, sqlDecision{primary: "other", roles: unable}, sqlDecision{}, "other"},
		{"certainly none", []sqlNode{current, other}, sqlDecision{roles: unable}, sqlDecision{}, ""},
		{"the other is not asked", []sqlNode{current, unasked(other)}, sqlDecision{primary: "other", roles: able}, sqlDecision{}, "current"},
		{"the other is not asked, the current one unable", []sqlNode{current, unasked(other)}, sqlDecision{primary: "other", roles: unable}, sqlDecision{}, ""},
		{"a loss does not wait for others", []sqlNode{current, unasked(other)}, sqlDecision{roles: unable}, sqlDecision{}, ""},
		{"the current one is not asked", []sqlNode{unasked(current), other}, sqlDecision{roles: unable}, sqlDecision{}, "current"},
		{"unconfirmed", []sqlNode{current, other}, sqlDecision{primary: "other", doubt: confirm, roles: able}, sqlDecision{}, "current"},
		{
			"confirmed", []sqlNode{current, other}, sqlDecision{primary: "other", doubt: confirm, roles: able},
			sqlDecision{primary: "other", doubt: confirm}, "other",
		},
		{
			"not confirmed by another", []sqlNode{current, other}, sqlDecision{primary: "other", doubt: confirm, roles: able},
			sqlDecision{primary: "third", doubt: confirm}, "current",
		},
		{"undecided", []sqlNode{current, other}, sqlDecision{primary: "other", doubt: undecided, roles: able}, sqlDecision{doubt: undecided, primary: "other"}, "current"},
	} {
		require.Equal(t, c.want, settle(c.nodes, c.d, c.last, "current"), c.name)
	}
}

// No sequence of results makes a server the primary that has never answered that it is writable, or that has failed as often
// as fall says since, or whose last answer says otherwise.
func TestPrimaryAlwaysHasAnAnswerThatHolds(t *testing.T) {
	for range 500 {
		nodes := []sqlNode{{address: "a"}, {address: "b"}, {address: "c"}}
		current, last := "", sqlDecision{}
		at := epoch
		for range 30 {
			for i := range nodes {
				if rand.IntN(3) == 0 {
					continue
				}
				f := writable(fmt.Sprintf("%s:1-%d", uuidA, 1+rand.IntN(3)))
				if rand.IntN(2) == 0 {
					f.readOnly = "read_only = ON"
				}
				f.identity = nodes[i].address
				at = at.Add(time.Millisecond)
				var err error
				if rand.IntN(3) == 0 {
					err = errUnresolved
				}
				nodes[i].record(&sqlAnswer{began: at, ended: at, mysql: &f}, err, 2, at)
			}
			if rand.IntN(10) == 0 {
				for i := range nodes {
					nodes[i].restart(at)
				}
			}
			d := decideMySQL(nodes, current, rand.IntN(2) == 0)
			before := current
			current, last = settle(nodes, d, last, current), d
			if current == "" {
				continue
			}
			i := int(current[0] - 'a')
			require.True(t, nodes[i].now != nil && nodes[i].now.mysql.readOnly == "" || current == before && !nodes[i].asked)
		}
	}
}
