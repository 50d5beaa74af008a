package fleet

// What operators say at a node about objects of its fleet.

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Written is what became of an override that was said here.
type Written string

const (
	IsWritten  Written = "written"  // it is in the store
	IsPending  Written = "pending"  // it holds here, and is written when the store can be reached
	IsConflict Written = "conflict" // the object was changed on another node at the same time, which holds
)

// SharesOverrides reports whether overrides are shared.
func (m *Member) SharesOverrides() bool { return slices.Contains(m.o.Share, ShareOverrides) }

// Say records an override for the fleet, and reports whether it applies here. The caller applies it.
func (m *Member) Say(key string, said Override) (applies bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if applies, err = m.overrides.Say(key, said); err == nil {
		notify(m.wake)
	}
	return applies, err
}

// SetLocal marks an object as local or not, and returns what the fleet says about it.
func (m *Member) SetLocal(key string, local bool) *Override {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.overrides.SetLocal(key, local).Override
}

// Keep marks an object as local because an operator has asked for it, until SetLocal ends that.
func (m *Member) Keep(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.overrides.Keep(key)
}

// IsKept reports whether an operator has asked for an object to be local.
func (m *Member) IsKept(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.overrides.IsKept(key)
}

// Current returns what the fleet says about an object, or nil, and whether the node has its own.
func (m *Member) Current(key string) (said *Override, local bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.overrides.Current(key), m.overrides.IsLocal(key)
}

// Applied returns the keys of all objects about which the fleet says something.
func (m *Member) Applied() (keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.overrides.All() {
		keys = append(keys, e.Key)
	}
	return keys
}

// Wait returns what became of the override of an object that was said here, when that is known, the store is not reachable,
// or ctx ends.
func (m *Member) Wait(ctx context.Context, key string) Written {
	m.mu.Lock()
	switch {
	case !m.overrides.Pending(key):
		defer m.mu.Unlock()
		if said := m.overrides.Current(key); said != nil && said.Node != m.o.Node {
			return IsConflict
		}
		return IsWritten
	case !m.connected || m.full != "":
		m.mu.Unlock()
		return IsPending
	}
	result := make(chan Written, 1)
	m.waiting[key] = append(m.waiting[key], result)
	m.mu.Unlock()
	select {
	case w := <-result:
		return w
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting[key] = slices.DeleteFunc(m.waiting[key], func(c chan Written) bool { return c == result })
	if len(m.waiting[key]) == 0 {
		delete(m.waiting, key)
	}
	return IsPending
}

// answer ends the waits for a key. mu is held.
func (m *Member) answer(key string, w Written) {
	for _, c := range m.waiting[key] {
		c <- w
	}
	delete(m.waiting, key)
}

// Reset removes the overrides of the fleet.
func (m *Member) Reset(ctx context.Context, by string) error {
	m.mu.Lock()
	if !m.connected {
		defer m.mu.Unlock()
		return fmt.Errorf("the store cannot be used: %s", m.lastError)
	}
	list := m.overrides.Empty(by, time.Now().UTC())
	m.mu.Unlock()
	for _, t := range list {
		if _, err := m.o.Store.Commit(ctx, t); err != nil {
			return err
		}
	}
	return nil
}
