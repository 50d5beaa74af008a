package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Kinds of messages. The numbers are part of the protocol.
const (
	kindHello uint8 = iota + 1
	kindSockets
	kindState
	kindReady
	kindFailed
	kindCommit
	kindServing
	kindSessions
	kindReceived
	kindConfirm
	kindReturned
	kindCounters
	kindFlows
	kindFlowsDone
)

// Format is the version of the protocol. Processes with different formats do not upgrade to each other. Documents may
// gain fields without a new format: unknown fields are ignored and missing ones are zero. The keys of hello must never
// change, because it tells a process of another format why the upgrade fails.
const Format = 2

// How long a process waits for the other.
const (
	helloTimeout = 10 * time.Second // a new process sends hello before anything else
	readyTimeout = 30 * time.Second // to load, resolve and bind
	replyTimeout = 10 * time.Second // for every other reply
	exitTimeout  = time.Second      // for a process to exit after its end of the connection was closed
)

// Hello is the first message of each process.
type Hello struct {
	Format   int    `json:"format"`   // set by this package
	Sessions int    `json:"sessions"` // format of session batches; sessions move only if both processes have the same
	Flows    int    `json:"flows"`    // format of flow batches, likewise
	PID      int    `json:"pid"`      // set by this package
	Version  string `json:"version"`
}

// Kinds of sockets.
const (
	ListenerSocket = "listener"
	AdminSocket    = "admin"
	// PromotionDescriptor is no socket but a descriptor of the program and its tables that forward packets in the kernel.
	PromotionDescriptor = "promotion"
)

// socketEntry names the owner of the next descriptors of a sockets message. The sockets of a listener may be spread over
// several entries and messages.
type socketEntry struct {
	Kind        string `json:"kind"`
	Name        string `json:"name"` // identity of a listener, or address of the API
	Descriptors int    `json:"descriptors"`
	KeepFile    bool   `json:"keep_file,omitempty"` // the file of the unix socket must not be removed
}

// failure is why the new process does not take over.
type failure struct {
	Error string `json:"error"`
}

// Ready lists what the new process takes over. Other sockets have left the configuration.
type Ready struct {
	Listeners []string `json:"listeners"` // identities
	Admin     []string `json:"admin"`     // addresses of the API
}

// sendJSON sends body as JSON.
func (c *Conn) sendJSON(kind uint8, body any, fds ...int32) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.Send(kind, text, fds)
}

// expect receives a message that must be of the given kind and decodes its body into v, unless v is nil. If the other
// process reports a failure instead, its reason becomes the error.
func (c *Conn) expect(kind uint8, v any) error {
	m, err := c.Receive()
	if err != nil {
		return err
	}
	defer m.Close()
	if m.Kind == kindFailed {
		var f failure
		if json.Unmarshal(m.Body, &f) != nil || f.Error == "" {
			f.Error = "no reason given"
		}
		return errors.New(f.Error)
	}
	if m.Kind != kind {
		return fmt.Errorf("%w: want kind %d, got %d", ErrMalformed, kind, m.Kind)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(m.Body, v); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}
