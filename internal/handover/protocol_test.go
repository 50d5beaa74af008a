package handover

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var self = Hello{Sessions: 1, Flows: 1, Version: "test"}

// connectRoles returns the old process's end of a connection as a NewProcess, and the descriptor of the other end.
func connectRoles(t *testing.T) (*NewProcess, int) {
	t.Helper()
	conn, f, err := NewConn()
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	fd, err := unix.Dup(int(f.Fd()))
	require.NoError(t, err)
	f.Close()
	hello := self
	hello.Format = Format
	return &NewProcess{conn: conn, self: hello}, fd
}

// received is a batch that records what happens to it.
type received struct{ started, discarded *int }

func (r received) Sessions() int { return 3 }
func (r received) Start()        { *r.started++ }
func (r received) Discard()      { *r.discarded++ }

func TestUpgradeTransfersSocketsStateAndBatches(t *testing.T) {
	p, fd := connectRoles(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	many := make([]int32, MaxDescriptors+50) // more than one message can have
	for i := range many {
		many[i] = int32(w.Fd())
	}
	state := func(s string) func() (any, error) { return func() (any, error) { return s, nil } }
	confirmed, returned := 0, 0
	batches := func(n int) func() *Batch {
		return func() *Batch {
			if n--; n < 0 {
				return nil
			}
			return &Batch{Body: []byte("batch"), Descriptors: many[:2], Sessions: 3, Confirm: func() { confirmed++ }, Return: func() { returned++ }}
		}
	}
	old := make(chan error, 1)
	go func() {
		old <- func() error {
			ready, err := p.Prepare([]Socket{{ListenerSocket, "tcp a:1", many, false}, {AdminSocket, "a:2", many[:1], false}, {ListenerSocket, "tcp unix", many[:1], true}}, state("first"))
			if err != nil {
				return err
			}
			if len(ready.Listeners) != 1 || len(ready.Admin) != 1 {
				return errors.New("incomplete ready message")
			}
			if err := p.Commit(state("final")); err != nil {
				return err
			}
			if n, err := p.MoveFlows(batches(1)); n != 3 || err != nil {
				return errors.Join(errors.New("flows"), err)
			}
			n, err := p.MoveSessions(batches(9))
			if n != 3 || err == nil || err.Error() != "no memory" {
				return errors.Join(errors.New("want the second session batch to fail"), err)
			}
			p.SendCounters(map[string]int{"a": 1})
			p.Close()
			return nil
		}()
	}()
	n, err := Accept(fd, self)
	require.NoError(t, err)
	defer n.Close()
	require.Equal(t, `"first"`, string(n.State()))
	require.True(t, n.HasPort(1))
	require.False(t, n.HasPort(2))
	fds, keepFile := n.Listener("tcp a:1")
	require.Len(t, fds, len(many))
	require.False(t, keepFile)
	closeAll(fds)
	fds, _ = n.Listener("tcp a:1")
	require.Empty(t, fds, "taken once")
	f := n.AdminSocket("a:2")
	require.NotNil(t, f)
	f.Close()
	fds, keepFile = n.Listener("tcp unix")
	require.Len(t, fds, 1)
	require.True(t, keepFile)
	closeAll(fds)
	require.NoError(t, n.Ready([]string{"tcp a:1"}))
	require.Equal(t, `"final"`, string(n.State()))
	require.False(t, n.Exited())
	n.Serving()

	started, discarded, flowsDone, sessionBatches := 0, 0, 0, 0
	var counters string
	err = n.Receive(Receiver{
		Released: func() {},
		Sessions: func(body []byte, descriptors []int32) (Received, error) {
			if sessionBatches++; sessionBatches > 1 {
				return nil, errors.New("no memory")
			}
			closeAll(descriptors)
			return received{&started, &discarded}, nil
		},
		Flows: func(body []byte, descriptors []int32) (Received, error) {
			closeAll(descriptors)
			return received{&started, &discarded}, nil
		},
		FlowsDone: func() { flowsDone++ },
		Counters:  func(body []byte) error { counters = string(body); return nil },
	})
	require.EqualError(t, err, "no memory")
	require.NoError(t, <-old)
	require.Equal(t, []int{2, 0, 1}, []int{started, discarded, flowsDone})
	require.Equal(t, []int{2, 1}, []int{confirmed, returned})
	require.Empty(t, counters, "nothing is received after an error")
}

// Both processes learn the format of the other one before the upgrade fails.
func TestOtherFormatIsRejected(t *testing.T) {
	p, fd := connectRoles(t)
	p.self.Format = 1 // an old process of an earlier version
	require.NoError(t, p.conn.sendJSON(kindHello, p.self))
	_, err := Accept(fd, self)
	require.EqualError(t, err, "handover: format 1 of the old process, want format 2")
	require.NoError(t, p.conn.expect(kindHello, &p.peer))
	require.Equal(t, Format, p.peer.Format)

	p, fd = connectRoles(t)
	n, err := OpenConn(uintptr(fd))
	require.NoError(t, err)
	defer n.Close()
	require.NoError(t, n.sendJSON(kindHello, Hello{Format: 1})) // a new process of an earlier version
	_, err = p.Prepare(nil, nil)
	require.EqualError(t, err, "handover format 1, want format 2")
}

func TestNewProcessContinuesIfOldProcessExitsBeforeCommit(t *testing.T) {
	p, fd := connectRoles(t)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		p.Prepare(nil, func() (any, error) { return "state", nil })
		p.Close()
	}()
	n, err := Accept(fd, self)
	require.NoError(t, err)
	defer n.Close()
	require.NoError(t, n.Ready(nil))
	<-closed
	require.True(t, n.Exited())
	require.Equal(t, `"state"`, string(n.State()))
}

// A sockets message that announces more descriptors than it has is rejected.
func TestSocketsMessageWithMissingDescriptors(t *testing.T) {
	p, fd := connectRoles(t)
	text, err := json.Marshal([]socketEntry{{ListenerSocket, "tcp a:1", 2, false}})
	require.NoError(t, err)
	go func() {
		p.conn.sendJSON(kindHello, p.self)
		p.conn.Send(kindSockets, text, []int32{int32(os.Stdin.Fd())})
	}()
	_, err = Accept(fd, self)
	require.ErrorIs(t, err, ErrMalformed)
}
