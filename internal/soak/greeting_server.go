package soak

// Servers that may refuse a session after they have accepted its connection (greeting), and what their clients see.

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"
)

// refuser refuses sessions while it is switched on.
type refuser struct {
	protocol string // "redis" or "mysql"; "" = the server never refuses
	on       atomic.Bool
	refused  atomic.Int64 // connections
}

// refusals are what a server of each protocol says instead of a session.
var refusals = map[string][][]byte{
	"redis": {[]byte("-ERR max number of clients reached\r\n"), []byte("-DENIED Running in protected mode.\r\n")},
	"mysql": {mysqlError(1040, "Too many connections"), mysqlError(1053, "Server shutdown in progress")},
}

func mysqlError(code uint16, text string) []byte {
	b := []byte{byte(3 + len(text)), 0, 0, 0, 0xff}
	b = binary.LittleEndian.AppendUint16(b, code)
	return append(b, text...)
}

// mysqlGreeting is the first packet of a server that serves: a length in three bytes, a number, and the version of the
// protocol. The rest is not looked at.
var mysqlGreeting = append([]byte{20, 0, 0, 0, 10}, bytes.Repeat([]byte{'g'}, 19)...)

// greetingSize returns how many bytes a server of a protocol sends before the preamble.
func greetingSize(protocol string) int {
	if protocol == "mysql" {
		return len(mysqlGreeting)
	}
	return 0
}

// greet sends what the server sends first. It reports false if that is a refusal; then the connection is done.
func (f *refuser) greet(c *net.TCPConn) bool {
	switch {
	case f.protocol == "":
	case f.on.Load():
		texts := refusals[f.protocol]
		f.refused.Add(1)
		_, _ = c.Write(texts[rand.IntN(len(texts))])
		_ = c.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, c) // closing with unread bytes would reset the connection
		return false
	case f.protocol == "mysql":
		_, err := c.Write(mysqlGreeting)
		return err == nil
	}
	return true
}

var errDenied = errors.New("refused by a server that had accepted the connection")

// denied reports whether the first bytes of a session are a refusal.
func denied(protocol string, first []byte) bool {
	for _, text := range refusals[protocol] {
		if n := min(len(text), len(first)); n > 0 && bytes.Equal(text[:n], first[:n]) {
			return true
		}
	}
	return false
}

// refuseRandomly lets a server refuse sessions for a while.
func (k *faultInjector) refuseRandomly(ctx context.Context, r *rand.Rand) {
	for sleep(ctx, r, 200*time.Millisecond, 3*time.Second) {
		i := r.IntN(len(k.refusers))
		over := k.faultLog.begin(refusing, k.refusers[i].name)
		k.refusers[i].on.Store(true)
		k.refusals.Add(1)
		sleep(ctx, r, 50*time.Millisecond, 1500*time.Millisecond)
		k.refusers[i].on.Store(false)
		over()
	}
}

// sentBeforeRefusals returns the most bytes that a listener can have sent to servers before they refused. With more, a session is
// not sent to another server.
func (k *faultInjector) sentBeforeRefusals(name string) (most float64) {
	for _, l := range k.first.listeners {
		for _, at := range k.first.servers {
			for _, f := range k.refusers {
				if l.name == name && at.cluster == l.cluster && f.name == at.name && f.protocol == "redis" {
					most += keptBytes * float64(f.refused.Load())
				}
			}
		}
	}
	return most
}

// keptBytes is how many bytes of a client weir keeps for the next server.
const keptBytes = 16 << 10

// namedRefuser is a refuser and the name of its server.
type namedRefuser struct {
	*refuser
	name string
}
