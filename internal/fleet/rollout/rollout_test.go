package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/fleet"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func request(by string) Request {
	return Request{By: by, Canaries: 1, Pause: 10 * time.Second, Driver: Member{"a", "1"}, At: began}
}

// viewOf returns a view in which the nodes run the revision that the record wants, after a quiet minute.
func viewOf(r *Record, names ...string) View {
	v := View{Record: r, Live: map[string]string{}, Reports: map[string]Report{}}
	for _, name := range names {
		v.Live[name] = "1"
		f := Figures{Sessions: 1000}
		v.Reports[name] = Report{Instance: "1", Runs: r.Wanted(name), Vote: Vote{ID: r.ID}, Before: f, Applied: f, Now: f}
	}
	return v
}

// change changes a report of a view.
func (v View) change(node string, f func(*Report)) {
	r := v.Reports[node]
	f(&r)
	v.Reports[node] = r
}

func TestStepsDoubleUntilAllNodesRunTheRevision(t *testing.T) {
	r, err := Begin(nil, request("ann"))
	require.NoError(t, err)
	d, now := NewDriver(Member{"a", "1"}), time.Duration(0)
	var steps []string
	for r.Phase.Active() {
		next, again := d.Next(now, began, viewOf(r, "a", "b", "c", "d", "e", "f", "g"))
		if next != nil {
			steps = append(steps, fmt.Sprintf("%s %s %s", now, next.Phase, strings.Join(next.Watched, "")))
			r = next
			continue
		}
		require.Equal(t, stepInterval, again)
		now += again
	}
	require.Equal(t, []string{"0s canary a", "10s step b", "20s step cd", "30s rest ", "40s done "}, steps)
	require.Equal(t, 1, r.Current())
	require.Equal(t, 0, r.Previous)
	require.Len(t, r.History, 1)
}

func TestCanaryIsANodeWithClients(t *testing.T) {
	r, err := Begin(nil, request("ann"))
	require.NoError(t, err)
	v := viewOf(r, "a", "b", "c")
	v.change("a", func(r *Report) { r.Before = Figures{} })
	next, _ := NewDriver(r.Driver).Next(0, began, v)
	require.Equal(t, []string{"b"}, next.Targets)
}

func TestVotes(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Report)
		after  time.Duration
		want   string
	}{
		"against": {func(r *Report) { r.Vote.Error = "revision 1, line 3: bad" }, 0, "b: revision 1, line 3: bad"},
		"missing": {func(r *Report) { r.Vote.ID = 0 }, VoteTimeout, "b: no vote within 15s"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Begin(nil, request("ann"))
			require.NoError(t, err)
			v := viewOf(r, "a", "b", "c")
			v.change("b", test.change)
			d := NewDriver(r.Driver)
			d.Next(0, began, v)
			next, _ := d.Next(test.after, began, v)
			require.Equal(t, Refused, next.Phase)
			require.Equal(t, test.want, next.Reason.String())
			require.Equal(t, 0, next.Current())
		})
	}
}

func TestCanaryIsJudged(t *testing.T) {
	const down = "redis: 10.0.0.1:6379: down"
	problem := func(r *Report) { r.Now.Problems = []string{down} }
	both := func(r *Report) { r.Now.Problems, r.Before.Problems = []string{down}, []string{down} }
	failed := func(n uint64) func(*Report) {
		return func(r *Report) { r.Now.Sessions += 100; r.Now.Failed += n }
	}
	refused := func(n uint64) func(*Report) { return func(r *Report) { r.Now.Refused += n } }
	for name, test := range map[string]struct {
		canary, other func(*Report)
		want          string // "" = it passes
	}{
		"new problem":               {canary: problem, want: "new problem: " + down},
		"old problem":               {canary: both},
		"problem of all nodes":      {canary: problem, other: problem},
		"failed sessions":           {canary: failed(3), want: "3 of 100 sessions failed (0.0 % before, 0.0 % on the other nodes)"},
		"two failed sessions":       {canary: failed(2)},
		"failures on all nodes":     {canary: failed(30), other: failed(20)},
		"more failures than others": {canary: failed(42), other: failed(20), want: "42 of 100 sessions failed (0.0 % before, 20.0 % on the other nodes)"},
		"refused clients":           {canary: refused(5), want: "5 of 5 clients refused (0.0 % before, 0.0 % on the other nodes)"},
		"left":                      {want: "left the fleet in the phase canary"},
		"restarted":                 {want: "restarted in the phase canary"},
		"cannot apply": {canary: func(r *Report) { r.Runs, r.Failure = 0, Failure{1, 1, "address in use"} },
			want: "cannot apply the revision: address in use"},
		"slow": {canary: func(r *Report) { r.Runs = 0 }, want: "revision not applied within 15s"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Begin(nil, request("ann"))
			require.NoError(t, err)
			d := NewDriver(r.Driver)
			r, _ = d.Next(0, began, viewOf(r, "a", "b", "c"))
			require.Equal(t, []string{"a"}, r.Targets)
			v := viewOf(r, "a", "b", "c")
			next, _ := d.Next(time.Second, began, v)
			require.Nil(t, next)
			if test.canary != nil {
				v.change("a", test.canary)
			}
			if test.other != nil {
				v.change("b", test.other)
			}
			switch name {
			case "left":
				delete(v.Live, "a")
			case "restarted":
				v.Live["a"] = "2"
			}
			d.self = Member{"a", "1"}
			for now := 2 * time.Second; next == nil; now += time.Second {
				require.Less(t, now, 30*time.Second)
				next, _ = d.Next(now, began, v)
			}
			if test.want == "" {
				require.Equal(t, Step, next.Phase, next.Reason.String())
				return
			}
			require.Equal(t, RolledBack, next.Phase)
			require.Equal(t, Reason{"a", test.want}, next.Reason)
			for _, node := range []string{"a", "b", "c"} {
				require.Equal(t, 0, next.Wanted(node))
			}
		})
	}
}

func TestOperators(t *testing.T) {
	first, err := Begin(nil, request("ann"))
	require.NoError(t, err)
	_, err = Begin(first, request("bob"))
	require.EqualError(t, err, "the roll-out of revision 1 by ann is in progress (validating)")
	ended, err := Undo(first, request("bob"))
	require.NoError(t, err)
	require.Equal(t, Refused, ended.Phase)
	require.Equal(t, "rolled back by bob", ended.Reason.Text)
	_, err = Undo(ended, request("bob"))
	require.ErrorIs(t, err, ErrNoPrevious)

	second, err := Begin(ended, request("bob"))
	require.NoError(t, err)
	require.Equal(t, 2, second.To)
	done := second.finished(Done, Reason{}, began)
	back, err := Undo(done, request("ann"))
	require.NoError(t, err)
	require.Equal(t, 2, back.From)
	require.Equal(t, 0, back.To)
	require.Equal(t, 2, back.Last)

	for range 20 {
		next, err := Begin(done, request("ann"))
		require.NoError(t, err)
		done = next.finished(RolledBack, Reason{Text: strings.Repeat("ü", 9000)}, began)
	}
	require.Len(t, done.History, MaxHistory)
	require.Equal(t, 2, done.Current())
	require.True(t, done.Kept(2))
	require.False(t, done.Kept(3))
	require.True(t, done.Kept(done.Last))
	_, err = DecodeRecord(fleet.Record{Value: done.Encode()})
	require.NoError(t, err)
}

func TestFollowerTriesAgain(t *testing.T) {
	r, err := Begin(nil, request("ann"))
	require.NoError(t, err)
	f := NewFollower("b", 0)
	task, _ := f.Next(0, nil)
	require.Equal(t, Task{}, task)
	task, _ = f.Next(0, r)
	require.Equal(t, Task{Vote: true}, task)
	f.Voted(r, "1 step", nil)
	task, _ = f.Next(0, r)
	require.Equal(t, Task{}, task)
	done := r.finished(Done, Reason{}, began)
	task, _ = f.Next(0, done)
	require.Equal(t, Task{Apply: true}, task)
	f.Applied(0, done, 1, fmt.Errorf("address in use"))
	task, again := f.Next(time.Second, done)
	require.Equal(t, Task{}, task)
	require.Equal(t, retryInterval-time.Second, again)
	task, _ = f.Next(retryInterval, done)
	require.Equal(t, Task{Apply: true}, task)
	f.Applied(0, done, 1, nil)
	require.Equal(t, 1, f.Report("1").Runs)
	require.Equal(t, Failure{}, f.Report("1").Failure)
}

func FuzzDecode(f *testing.F) {
	r, _ := Begin(nil, request("ann"))
	f.Add(r.Encode())
	f.Add(Report{Runs: 3, Vote: Vote{ID: 1}}.Encode())
	text, _ := Revision{Text: "[[listener]]\n"}.Encode()
	f.Add(text)
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		v := View{Live: map[string]string{"a": "1", "b": "1"}, Reports: map[string]Report{}}
		from := fleet.Record{Key: "rollout", Value: value}
		if report, err := DecodeReport(from); err == nil {
			v.Reports["b"] = report
		}
		_, _ = DecodeRevision(from)
		r, err := DecodeRecord(from)
		if err != nil {
			return
		}
		v.Record = r
		d, follower := NewDriver(Member{"a", "1"}), NewFollower("a", 0)
		for _, now := range []time.Duration{0, time.Second, time.Minute} {
			follower.Next(now, r)
			if next, _ := d.Next(now, began, v); next != nil {
				_, err := DecodeRecord(fleet.Record{Value: next.Encode()})
				require.NoError(t, err)
			}
		}
	})
}
