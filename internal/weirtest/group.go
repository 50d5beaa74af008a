package weirtest

import (
	"cmp"
	"sync"
)

// Group runs goroutines that may fail.
type Group struct {
	sync.WaitGroup
	mu  sync.Mutex
	err error // the first
}

func (c *Group) Go(f func() error) {
	c.WaitGroup.Go(func() {
		if err := f(); err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.err = cmp.Or(c.err, err)
		}
	})
}

func (c *Group) Wait() error {
	c.WaitGroup.Wait()
	return c.err
}
