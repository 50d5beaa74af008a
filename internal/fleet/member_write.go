package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// claim writes the node record, unless another process has the name of the node.
func (m *Member) claim(ctx context.Context, snapshot Snapshot) error {
	key := nodeKey(m.o.Node)
	condition := Condition{Key: key}
	for _, r := range snapshot.Records {
		if r.Key != key {
			continue
		}
		condition.Modified = r.Modified
		if _, info, err := decodeNode(r); err == nil {
			m.mu.Lock()
			previous := m.previous
			m.mu.Unlock()
			switch {
			case info.Instance == m.instance && m.lease != nil:
				m.nodeRecord = r.Modified
				return nil
			case info.Instance != m.instance && info.Instance != previous && m.written != nil && m.lease != nil:
				// Nodes write a record only if there is none: this is no node.
				m.o.Log.Warn("fleet: the record of this node was overwritten; it is written again")
				wait(ctx, time.Until(m.nextClaim))
				m.nextClaim = time.Now().Add(reclaimPause)
			case info.Instance != m.instance && info.Instance != previous:
				return fmt.Errorf("node name %s is %w by another weir; this one serves without the fleet", m.o.Node, errNameInUse)
			}
		}
	}
	if m.lease == nil {
		lease, err := m.o.Store.Lease(ctx, m.o.TTL)
		if err != nil {
			return err
		}
		m.lease = lease
	}
	return m.put(ctx, condition)
}

// reclaimPause is the time between two writes of a record that is overwritten.
const reclaimPause = time.Second

// put writes the node record.
func (m *Member) put(ctx context.Context, condition Condition) error {
	info := m.o.Info()
	info.Instance, info.At = m.instance, time.Now().UTC()
	value, err := Encode(&info, MaxValue)
	if err != nil {
		return err
	}
	revision, err := m.o.Store.Commit(ctx, Txn{If: []Condition{condition}, Put: []Put{{Key: condition.Key, Value: value, Lease: m.lease}}})
	if err != nil {
		return err
	}
	m.written, m.nodeRecord = &info, revision
	return nil
}

const (
	reportInterval = 10 * time.Second // between node records that differ in numbers only
	resetLifetime  = 24 * time.Hour   // of records of resets
)

// report writes the node record if it has changed.
func (m *Member) report(ctx context.Context) error {
	info := m.o.Info()
	info.Instance = m.instance
	if m.written != nil && time.Since(m.written.At) < reportInterval && info.sameState(m.written) || time.Now().Before(m.nextWrite) {
		return nil
	}
	m.mu.Lock()
	expired := m.overrides.Expired(time.Now().Add(-resetLifetime))
	m.mu.Unlock()
	if len(expired.Delete) > 0 {
		if _, err := m.o.Store.Commit(ctx, expired); err != nil && !errors.Is(err, ErrConflict) {
			return err
		}
	}
	err := m.put(ctx, Condition{nodeKey(m.o.Node), m.nodeRecord})
	if m.isFull(err) {
		return nil
	}
	return err
}

// fullPause is the time until the next write to a store that is full.
const fullPause = 5 * time.Second

// isFull notes whether a write has failed because the store is full, and reports that.
func (m *Member) isFull(err error) bool {
	full := errors.Is(err, ErrFull)
	if err != nil && !full {
		return false
	}
	text := ""
	if full {
		text = err.Error()
		m.nextWrite = time.Now().Add(fullPause)
	}
	m.mu.Lock()
	changed := m.full != text
	m.full = text
	if full {
		for key := range m.waiting {
			m.answer(key, IsPending)
		}
	}
	m.mu.Unlock()
	if full && changed {
		m.o.Log.Warn("fleet: store takes no writes", "error", text)
	}
	return full
}

// write writes what is pending.
func (m *Member) write(ctx context.Context) error {
	for m.SharesOverrides() && !time.Now().Before(m.nextWrite) {
		m.mu.Lock()
		t, written := m.overrides.Next(rand.Text(), time.Now().UTC())
		m.mu.Unlock()
		if len(t.Put) == 0 {
			return nil
		}
		revision, err := m.o.Store.Commit(ctx, t)
		switch {
		case m.isFull(err):
			return nil
		case err != nil:
			return err
		case written == nil:
			return errReload // it has started a history
		}
		m.mu.Lock()
		out := m.overrides.Committed(written, revision)
		m.mu.Unlock()
		m.handle(out)
	}
	return nil
}
