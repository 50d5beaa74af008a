package fleettest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/fleet"
	"weir/internal/fleet/fleettest"
)

func put(key, value string) fleet.Txn {
	return fleet.Txn{Put: []fleet.Put{{Key: key, Value: []byte(value)}}}
}

func TestCommitComparesRevisions(t *testing.T) {
	s := fleettest.New()
	a, b := s.Client(), s.Client()
	ctx := t.Context()
	first, err := a.Commit(ctx, put("k", "1"))
	require.NoError(t, err)
	_, err = b.Commit(ctx, fleet.Txn{If: []fleet.Condition{{Key: "k"}}, Put: put("k", "2").Put})
	require.ErrorIs(t, err, fleet.ErrConflict)
	second, err := b.Commit(ctx, fleet.Txn{If: []fleet.Condition{{Key: "k", Modified: first}, {Key: "other"}}, Put: put("k", "2").Put, Delete: []string{"missing"}})
	require.NoError(t, err)
	require.Equal(t, first+1, second)
	loaded, err := a.Load(ctx)
	require.NoError(t, err)
	require.Equal(t, fleet.Snapshot{Revision: second, Records: []fleet.Record{{Key: "k", Value: []byte("2"), Size: 1, Created: first, Modified: second}}}, loaded)
}

func TestWatchDeliversChangesInOrder(t *testing.T) {
	s := fleettest.New()
	a, b := s.Client(), s.Client()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := a.Commit(ctx, put("k", "1"))
	require.NoError(t, err)
	changes, err := b.Watch(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, "1", string((<-changes).Records[0].Value))
	b.Delay(true)
	_, err = a.Commit(ctx, fleet.Txn{Delete: []string{"k"}})
	require.NoError(t, err)
	require.Empty(t, changes)
	b.Delay(false)
	require.Equal(t, fleet.Change{Revision: 3, Deleted: []string{"k"}}, <-changes)
	cancel()
	_, open := <-changes
	require.False(t, open)
}

func TestWatchEndsWithCompactionAndCut(t *testing.T) {
	s := fleettest.New()
	c := s.Client()
	_, err := c.Commit(t.Context(), put("k", "1"))
	require.NoError(t, err)
	s.Compact()
	changes, err := c.Watch(t.Context(), 1)
	require.NoError(t, err)
	require.ErrorIs(t, (<-changes).Err, fleet.ErrCompacted)
	changes, err = c.Watch(t.Context(), 2)
	require.NoError(t, err)
	c.Cut(true)
	require.ErrorIs(t, (<-changes).Err, fleettest.ErrUnavailable)
	_, err = c.Load(t.Context())
	require.ErrorIs(t, err, fleettest.ErrUnavailable)
}

func TestLeaseEndsWithItsRecords(t *testing.T) {
	s := fleettest.New()
	a, b := s.Client(), s.Client()
	lease, err := a.Lease(t.Context(), 10*time.Second)
	require.NoError(t, err)
	_, err = a.Commit(t.Context(), fleet.Txn{Put: []fleet.Put{{Key: "nodes/a", Value: []byte("{}"), Lease: lease}}})
	require.NoError(t, err)
	s.Advance(time.Hour)
	require.Len(t, s.Records(), 1, "renewed")
	a.Cut(true)
	s.Advance(9 * time.Second)
	require.Len(t, s.Records(), 1)
	s.Advance(time.Second)
	require.Empty(t, s.Records())
	<-lease.Lost()
	a.Cut(false)
	_, err = a.Commit(t.Context(), fleet.Txn{Put: []fleet.Put{{Key: "nodes/a", Value: []byte("{}"), Lease: lease}}})
	require.ErrorIs(t, err, fleet.ErrLeaseLost)

	lease, err = b.Lease(t.Context(), time.Second)
	require.NoError(t, err)
	_, err = b.Commit(t.Context(), fleet.Txn{Put: []fleet.Put{{Key: "nodes/b", Value: []byte("{}"), Lease: lease}}})
	require.NoError(t, err)
	require.NoError(t, lease.Release(t.Context()))
	require.Empty(t, s.Records())
	require.NoError(t, lease.Release(t.Context()))
}

func TestLostReplyAndWipe(t *testing.T) {
	s := fleettest.New()
	c := s.Client()
	c.LoseReply()
	_, err := c.Commit(t.Context(), put("k", "1"))
	require.ErrorIs(t, err, fleettest.ErrUnavailable)
	require.Len(t, s.Records(), 1)
	s.SetFull(true)
	_, err = c.Commit(t.Context(), put("k", "2"))
	require.Error(t, err)
	s.SetFull(false)
	s.Wipe()
	require.Equal(t, int64(1), s.Revision())
	require.Empty(t, s.Records())
}
