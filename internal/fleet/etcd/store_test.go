package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"weir/internal/fleet"
	"weir/internal/nettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, o Options) *Store {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	if o.Prefix == "" {
		o.Prefix = "/weir/test"
	}
	s := Open(o)
	t.Cleanup(func() { s.Close() })
	return s
}

func put(key, value string) fleet.Txn {
	return fleet.Txn{Put: []fleet.Put{{Key: key, Value: []byte(value)}}}
}

// eventually repeats what may fail while etcd elects a leader or the store changes its endpoint.
func eventually(t *testing.T, what string, do func() error) {
	t.Helper()
	var err error
	defer func() {
		if t.Failed() {
			t.Log(what, "failed last with", err)
		}
	}()
	nettest.Wait(t, 60*time.Second, what, func() bool { err = do(); return err == nil })
}

func TestRecordsOfRealEtcd(t *testing.T) {
	cluster := nettest.StartEtcd(t, 1)
	a, b := open(t, Options{Endpoints: cluster.URLs()}), open(t, Options{Endpoints: cluster.URLs()})
	ctx := t.Context()
	cluster.Ctl("put", "/weir/test2/k", "of another fleet")
	first, err := a.Commit(ctx, put("k", "1"))
	require.NoError(t, err)
	_, err = b.Commit(ctx, fleet.Txn{If: []fleet.Condition{{Key: "k"}}, Put: put("k", "2").Put})
	require.ErrorIs(t, err, fleet.ErrConflict)
	changes, err := b.Watch(ctx, first)
	require.NoError(t, err)
	second, err := b.Commit(ctx, fleet.Txn{If: []fleet.Condition{{Key: "k", Modified: first}, {Key: "none"}}, Put: put("k", "2").Put, Delete: []string{"none"}})
	require.NoError(t, err)
	require.Equal(t, first+1, second)
	want := fleet.Record{Key: "k", Value: []byte("2"), Size: 1, Created: first, Modified: second}
	loaded, err := a.Load(ctx)
	require.NoError(t, err)
	require.Equal(t, fleet.Snapshot{Revision: second, Records: []fleet.Record{want}}, loaded)
	require.Equal(t, fleet.Change{Revision: second, Records: []fleet.Record{want}}, <-changes)
	third, err := a.Commit(ctx, fleet.Txn{Delete: []string{"k"}, Put: put("l", "").Put})
	require.NoError(t, err)
	change := <-changes
	require.Equal(t, []string{"k"}, change.Deleted)
	require.Equal(t, third, change.Revision)
	require.Len(t, change.Records, 1)

	cluster.Ctl("compact", fmt.Sprint(third))
	changes, err = a.Watch(ctx, first)
	require.NoError(t, err)
	require.ErrorIs(t, (<-changes).Err, fleet.ErrCompacted)
	_, ok := <-changes
	require.False(t, ok)

	lease, err := a.Lease(ctx, 2*time.Second)
	require.NoError(t, err)
	_, err = a.Commit(ctx, fleet.Txn{Put: []fleet.Put{{Key: "nodes/a", Value: []byte("{}"), Lease: lease}}})
	require.NoError(t, err)
	waitForEndOfLease(t, cluster, b) // which begins later and is not renewed
	loaded, err = b.Load(ctx)
	require.NoError(t, err)
	require.Len(t, loaded.Records, 2)
	require.NoError(t, lease.Release(ctx))
	require.NoError(t, lease.Release(ctx))
	<-lease.Lost()
	_, err = a.Commit(ctx, fleet.Txn{Put: []fleet.Put{{Key: "nodes/a", Value: []byte("{}"), Lease: lease}}})
	require.ErrorIs(t, err, fleet.ErrLeaseLost)
	loaded, err = b.Load(ctx)
	require.NoError(t, err)
	require.Len(t, loaded.Records, 1)
}

// waitForEndOfLease takes a lease of 2 s that nothing renews, and waits until its record is gone.
func waitForEndOfLease(t *testing.T, cluster *nettest.Etcd, s *Store) {
	t.Helper()
	id := strings.Fields(cluster.Ctl("lease", "grant", "2"))[1]
	cluster.Ctl("put", "--lease="+id, "/weir/test/ends", "{}")
	snapshot, err := s.Load(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	changes, err := s.Watch(ctx, snapshot.Revision)
	require.NoError(t, err)
	for c := range changes {
		require.NoError(t, c.Err)
		if slices.Contains(c.Deleted, "ends") {
			return
		}
	}
	t.Fatal("the lease does not end")
}

func TestHostileRecordsAreBounded(t *testing.T) {
	cluster := nettest.StartEtcd(t, 1, "--max-request-bytes=20971520")
	s := open(t, Options{Endpoints: cluster.URLs(), Timeout: 10 * time.Second})
	ctx := t.Context()
	file := t.TempDir() + "/value"
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("x", 1500000)), 0o600))
	for i := range 8 { // together more than a response may have
		cluster.Ctl("put", fmt.Sprintf("/weir/test/large/%d", i), strings.Repeat("y", 100))
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		_, err = s.Commit(ctx, put(fmt.Sprintf("large/%d", i), string(text)))
		require.NoError(t, err)
	}
	_, err := s.Commit(ctx, put(strings.Repeat("k", fleet.MaxKey+1), "long key"))
	require.NoError(t, err)
	for i := range pageSize/100 + 2 {
		var txn fleet.Txn
		for j := range 100 {
			txn.Put = append(txn.Put, fleet.Put{Key: fmt.Sprintf("small/%d/%02d", i, j), Value: []byte("v")})
		}
		_, err := s.Commit(ctx, txn)
		require.NoError(t, err)
	}
	loaded, err := s.Load(ctx)
	require.NoError(t, err)
	require.Len(t, loaded.Records, 8+pageSize+200)
	require.Equal(t, 1, loaded.Omitted)
	for i := range 8 {
		r := loaded.Records[i]
		require.Nil(t, r.Value, r.Key)
		require.Greater(t, r.Size, fleet.MaxConfig)
	}
}

func TestWrongPasswordAndTLS(t *testing.T) {
	ca := nettest.NewCertificates(t)
	cluster := nettest.StartEtcd(t, 1, "--cert-file="+ca.Cert, "--key-file="+ca.Key)
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(ca.CA)
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(pem))
	secure := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}

	s := open(t, Options{Endpoints: cluster.URLs(), TLS: secure})
	_, err = s.Commit(t.Context(), put("k", "1"))
	require.NoError(t, err)
	untrusted := open(t, Options{Endpoints: cluster.URLs()})
	_, err = untrusted.Load(t.Context())
	require.ErrorContains(t, err, "etcd at "+cluster.URLs()[0]+": ")
	require.ErrorContains(t, err, "certificate")

	ctl := func(args ...string) { cluster.Ctl(append([]string{"--cacert=" + ca.CA}, args...)...) }
	ctl("user", "add", "root:secret")
	ctl("user", "grant-role", "root", "root")
	ctl("auth", "enable")
	s = open(t, Options{Endpoints: cluster.URLs(), TLS: secure, User: "root", Password: "secret"})
	_, err = s.Load(t.Context())
	require.NoError(t, err)
	for password, want := range map[string]string{"wrong-password": "invalid", "": "user name is empty"} {
		s := open(t, Options{Endpoints: cluster.URLs(), TLS: secure, User: "root", Password: password})
		_, err = s.Load(t.Context())
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "wrong-password")
		require.NotContains(t, err.Error(), "rpc error")
	}
}

// TestFrozenKilledAndWiped checks that a store continues with another endpoint, and that a watch and a lease notice.
func TestFrozenKilledAndWiped(t *testing.T) {
	cluster := nettest.StartEtcd(t, 3)
	s := open(t, Options{Endpoints: cluster.URLs(), Timeout: time.Second})
	ctx := t.Context()
	var revision int64
	commit := func(value string) func() error {
		return func() (err error) { revision, err = s.Commit(ctx, put("k", value)); return err }
	}
	eventually(t, "the first write", commit("0"))
	lease, err := s.Lease(ctx, 30*time.Second)
	require.NoError(t, err)
	for round, disturb := range []func(m *nettest.EtcdMember){(*nettest.EtcdMember).Freeze, (*nettest.EtcdMember).Kill} {
		changes, err := s.Watch(ctx, revision)
		require.NoError(t, err)
		current, err := s.connection()
		require.NoError(t, err)
		var m *nettest.EtcdMember
		for _, m = range cluster.Members {
			if m.URL() == current.Endpoints()[0] {
				break
			}
		}
		disturb(m)
		began := time.Now()
		for change := range changes { // ends by itself: a ping fails
			err = change.Err
		}
		require.ErrorContains(t, err, "etcd at "+m.URL())
		t.Logf("watch ended after %v: %v", time.Since(began), err)
		eventually(t, "a write through another endpoint", commit(fmt.Sprint(round)))
		if round == 0 {
			m.Thaw()
		} else {
			cluster.Up()
		}
	}
	select {
	case <-lease.Lost():
		t.Error("lease lost while two of three members served")
	default:
	}
	cluster.Wipe()
	eventually(t, "an empty store", func() error {
		loaded, err := s.Load(ctx)
		if err == nil && len(loaded.Records) > 0 {
			err = fmt.Errorf("%d records", len(loaded.Records))
		}
		return err
	})
	<-lease.Lost()
}

func TestUnreachableStoreFailsWithinTimeout(t *testing.T) {
	for _, endpoint := range []string{"http://" + nettest.Reserve(t), "http://" + nettest.Start(t, nettest.Silent).Addr()} {
		s := open(t, Options{Endpoints: []string{endpoint}, Timeout: 500 * time.Millisecond})
		began := time.Now()
		_, err := s.Load(t.Context())
		require.ErrorContains(t, err, "etcd at "+endpoint+": ")
		require.Less(t, nettest.Elapsed(began), 5*time.Second)
		_, err = s.Watch(t.Context(), 1)
		require.Error(t, err)
		_, err = s.Lease(t.Context(), time.Second)
		require.Error(t, err)
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = s.Commit(cancelled, put("k", "v"))
		require.Error(t, err)
		require.NoError(t, s.Close())
		_, err = s.Load(t.Context())
		require.ErrorIs(t, err, errClosed)
	}
}

// TestLeaseIsLostWithoutServer checks that a lease that cannot be renewed is lost after its ttl, not earlier.
func TestLeaseIsLostWithoutServer(t *testing.T) {
	cluster := nettest.StartEtcd(t, 1)
	s := open(t, Options{Endpoints: cluster.URLs(), Timeout: 500 * time.Millisecond})
	began := time.Now()
	lease, err := s.Lease(t.Context(), 3*time.Second)
	require.NoError(t, err)
	cluster.Members[0].Freeze()
	<-lease.Lost()
	require.GreaterOrEqual(t, time.Since(began), 3*time.Second)
	cluster.Members[0].Thaw()
}
