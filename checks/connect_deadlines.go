package checks

import "container/heap"

// connectDeadlines is a heap of pending connections by deadline. add and remove are for callers; the rest is for package
// heap.
type connectDeadlines []*connectRun

func (d connectDeadlines) Len() int           { return len(d) }
func (d connectDeadlines) Less(i, j int) bool { return d[i].deadline.Before(d[j].deadline) }
func (d connectDeadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

// Push is for package heap.
func (d *connectDeadlines) Push(x any) {
	c := x.(*connectRun)
	c.index = len(*d)
	*d = append(*d, c)
}

// Pop is for package heap.
func (d *connectDeadlines) Pop() any {
	last := len(*d) - 1
	c := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	c.index = -1
	return c
}

func (d *connectDeadlines) add(c *connectRun) { heap.Push(d, c) }

func (d *connectDeadlines) remove(c *connectRun) { heap.Remove(d, c.index) }
