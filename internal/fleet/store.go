package fleet

import (
	"context"
	"errors"
	"time"
)

// Store keeps the records of a fleet. Its methods may be called by any goroutine. All of them end with their context, and
// with an error if the store cannot be reached within the timeout of the implementation.
type Store interface {
	// Load returns all records, and the revision of the store at which they hold.
	Load(ctx context.Context) (Snapshot, error)
	// Watch delivers the changes after a revision, in order. The channel is closed when ctx ends or after a Change with Err,
	// such as ErrCompacted: load again.
	Watch(ctx context.Context, after int64) (<-chan Change, error)
	// Commit makes all writes at once if all conditions hold, and returns the new revision. It returns ErrConflict if a
	// condition does not hold and ErrLeaseLost if a lease has ended; nothing is written then. After any other error the
	// writes may have been made.
	Commit(ctx context.Context, t Txn) (int64, error)
	// Lease starts a lease and renews it until it is lost or released. Records written with it are deleted with it.
	Lease(ctx context.Context, ttl time.Duration) (Lease, error)
	// Close releases connections and ends leases without releasing them: their records stay until the ttl has passed.
	Close() error
}

var (
	// ErrConflict is returned if a condition of a transaction does not hold.
	ErrConflict = errors.New("changed in the store meanwhile")
	// ErrCompacted ends a watch whose next changes the store no longer has.
	ErrCompacted = errors.New("the store has dropped the changes since then")
	// ErrFull is returned for a write while the store has no space. Reads and leases go on.
	ErrFull = errors.New("the store is full and takes no writes")
	// ErrLeaseLost is returned for a write with a lease that has ended.
	ErrLeaseLost = errors.New("lease lost")
)

// Bounds of what is read from a store.
const (
	MaxRecords = 50_000   // of one fleet; more are not read
	MaxLoaded  = 64 << 20 // bytes of all values; records beyond are not read
	MaxKey     = 2048     // bytes of a key; records with longer ones are not read
	MaxValue   = 64 << 10 // bytes of a value, except:
	MaxConfig  = 1 << 20  // bytes of the value of a configuration's revision
	MaxTxn     = 100      // conditions and writes of a transaction, together; the limit of etcd is 128 of each
)

// Snapshot is the content of a store at one revision.
type Snapshot struct {
	Revision int64
	Records  []Record // by key
	Omitted  int      // records beyond MaxRecords, MaxLoaded or MaxKey, as far as they were counted
}

// Record is one key with its value. Receivers do not modify Value.
type Record struct {
	Key      string // relative to the prefix
	Value    []byte // nil if Size is above MaxConfig
	Size     int    // bytes of the value in the store
	Created  int64  // revision of the write that created the key
	Modified int64  // revision of the last write
	Leased   bool   // it ends with a lease
}

// Change is what one or more successive revisions have changed, always whole transactions.
type Change struct {
	Revision int64    // the last one
	Records  []Record // written, in order; a key may occur more than once
	Deleted  []string // keys that no longer exist after Revision
	Err      error    // why the watch ended; all else is empty then
}

// Txn is a transaction.
type Txn struct {
	If     []Condition
	Put    []Put
	Delete []string // missing keys are no error
}

// Condition holds if a key was last modified at a revision, or does not exist if Modified is 0.
type Condition struct {
	Key      string
	Modified int64
}

// Put writes a record.
type Put struct {
	Key   string
	Value []byte
	Lease Lease // nil = none
}

// Lease ends records with their writer.
type Lease interface {
	ID() int64
	// Lost is closed when the lease has ended, or cannot be renewed for its ttl.
	Lost() <-chan struct{}
	// Release ends the lease and deletes its records. It may be called again.
	Release(ctx context.Context) error
}
