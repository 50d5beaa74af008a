package engine

import (
	"context"
	"sync"
)

// pendingSet collects items for a goroutine to handle. An item that is added again before it is handled is handled once.
type pendingSet[T comparable] struct {
	wake chan struct{} // holds one

	mu    sync.Mutex
	items map[T]bool
}

func newPendingSet[T comparable]() pendingSet[T] { return pendingSet[T]{wake: make(chan struct{}, 1)} }

// add adds an item. It does not block.
func (p *pendingSet[T]) add(item T) {
	p.mu.Lock()
	if p.items == nil {
		p.items = map[T]bool{}
	}
	p.items[item] = true
	p.mu.Unlock()
	notify(p.wake)
}

// run calls handle with the items that have been added, until ctx ends.
func (p *pendingSet[T]) run(ctx context.Context, handle func(items map[T]bool)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		p.mu.Lock()
		items := p.items
		p.items = nil
		p.mu.Unlock()
		if len(items) > 0 {
			handle(items)
		}
	}
}
