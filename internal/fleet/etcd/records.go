package etcd

import (
	"context"
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weir/internal/fleet"
)

// Bounds of one message.
const (
	maxResponse = 8 << 20
	maxRequest  = 2 << 20
	pageSize    = 500 // records
)

// Load returns all records.
func (s *Store) Load(ctx context.Context) (fleet.Snapshot, error) {
	var snapshot fleet.Snapshot
	from, end := s.prefix, clientv3.GetPrefixRangeEnd(s.prefix)
	limit, bytes := int64(pageSize), 0
	for {
		options := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(limit)}
		if snapshot.Revision > 0 {
			options = append(options, clientv3.WithRev(snapshot.Revision))
		}
		page, err := s.get(ctx, from, options...)
		withoutValue := errors.Is(err, errTooLarge) && limit == 1
		switch {
		case withoutValue:
			page, err = s.get(ctx, from, append(options, clientv3.WithKeysOnly())...)
		case errors.Is(err, errTooLarge):
			limit = max(limit/8, 1)
			continue
		}
		if err != nil {
			return fleet.Snapshot{}, err
		}
		if snapshot.Revision == 0 {
			snapshot.Revision = page.Header.Revision
		}
		for _, kv := range page.Kvs {
			r, ok := s.record(kv)
			if withoutValue {
				r.Size = maxResponse
			}
			if !ok || len(snapshot.Records) == fleet.MaxRecords || bytes+len(r.Value) > fleet.MaxLoaded {
				snapshot.Omitted++
				continue
			}
			bytes += len(r.Value)
			snapshot.Records = append(snapshot.Records, r)
		}
		if !page.More || len(page.Kvs) == 0 {
			return snapshot, nil
		}
		if len(snapshot.Records) == fleet.MaxRecords || bytes > fleet.MaxLoaded-fleet.MaxConfig {
			snapshot.Omitted = max(snapshot.Omitted, int(page.Count)-len(snapshot.Records))
			return snapshot, nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

func (s *Store) get(ctx context.Context, key string, options ...clientv3.OpOption) (response *clientv3.GetResponse, err error) {
	err = s.call(ctx, func(ctx context.Context, c *clientv3.Client) (err error) {
		response, err = c.Get(ctx, key, options...)
		return translate(err)
	})
	return response, err
}

// record returns a record, and false if its key is not read.
func (s *Store) record(kv *mvccpb.KeyValue) (fleet.Record, bool) {
	key := strings.TrimPrefix(string(kv.Key), s.prefix)
	r := fleet.Record{Key: key, Value: kv.Value, Size: len(kv.Value), Created: kv.CreateRevision, Modified: kv.ModRevision, Leased: kv.Lease != 0}
	if r.Size > fleet.MaxConfig {
		r.Value = nil
	}
	return r, key != "" && len(key) <= fleet.MaxKey
}

// Commit makes the writes of a transaction.
func (s *Store) Commit(ctx context.Context, t fleet.Txn) (revision int64, err error) {
	var conditions []clientv3.Cmp
	var writes []clientv3.Op
	for _, c := range t.If {
		conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(s.prefix+c.Key), "=", c.Modified))
	}
	for _, p := range t.Put {
		var options []clientv3.OpOption
		if p.Lease != nil {
			options = append(options, clientv3.WithLease(clientv3.LeaseID(p.Lease.ID())))
		}
		writes = append(writes, clientv3.OpPut(s.prefix+p.Key, string(p.Value), options...))
	}
	for _, key := range t.Delete {
		writes = append(writes, clientv3.OpDelete(s.prefix+key))
	}
	err = s.call(ctx, func(ctx context.Context, c *clientv3.Client) error {
		response, err := c.Txn(ctx).If(conditions...).Then(writes...).Commit()
		switch {
		case err != nil:
			return translate(err)
		case !response.Succeeded:
			return fleet.ErrConflict
		}
		revision = response.Header.Revision
		return nil
	})
	return revision, err
}
