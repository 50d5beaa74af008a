package checks

import (
	"container/heap"
	"time"
)

// Tasks run together if they are due at nearly the same time: a wake-up of the scheduler costs more CPU time than a check
// that only connects. At most maxEarly tasks of one wake-up run early, so that there are no bursts.
const (
	minSlack = time.Millisecond
	maxSlack = 50 * time.Millisecond
	maxEarly = 32
)

// slack is how much earlier than due the task may run: a fortieth of its interval, within the jitter.
func (t *task) slack() time.Duration {
	return min(max(t.job.Spec.Interval/40, minSlack), maxSlack)
}

// schedule is a heap of tasks by due time. The runner uses add, drop, pop and next; the rest is for package heap.
type schedule []*task

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].dueAt.Before(s[j].dueAt) }
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}

// Push is for package heap.
func (s *schedule) Push(x any) {
	t := x.(*task)
	t.index = len(*s)
	*s = append(*s, t)
}

// Pop is for package heap.
func (s *schedule) Pop() any {
	last := len(*s) - 1
	t := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	t.index = -1
	return t
}

// add adds or moves a task and reports whether it is the first one now.
func (s *schedule) add(t *task, at time.Time) (first bool) {
	t.dueAt = at
	if t.index >= 0 {
		heap.Fix(s, t.index)
	} else {
		heap.Push(s, t)
	}
	return t.index == 0
}

// drop removes a task if it is in the schedule.
func (s *schedule) drop(t *task) {
	if t.index >= 0 {
		heap.Remove(s, t.index)
	}
}

// pop removes and returns the first task if it is due, early if it is due within its slack, else nil.
func (s *schedule) pop(now time.Time, early bool) *task {
	if len(*s) == 0 {
		return nil
	}
	slack := minSlack
	if early {
		slack = (*s)[0].slack()
	}
	if (*s)[0].dueAt.After(now.Add(slack)) {
		return nil
	}
	return heap.Pop(s).(*task)
}

// next returns the time until a task is due, or false if there is none.
func (s schedule) next(now time.Time) (time.Duration, bool) {
	if len(s) == 0 {
		return 0, false
	}
	return max(s[0].dueAt.Sub(now), 0), true
}
