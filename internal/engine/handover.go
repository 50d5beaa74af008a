package engine

// What two processes say to each other while one hands its work over to the other. The old one starts the new one with one
// end of a wire, and then:
//
//	old                           new
//	hello                     →
//	                          ←   hello          each says which formats it knows; whoever does not like them leaves
//	sockets, state            →
//	                          ←   ready          everything is loaded, checked, bound; or failed, with the reason
//	commit, with the state    →                  the old one accepts no more
//	                          ←   serving        the new one does
//	flows …                   →
//	                          ←   taken …
//	yours …                   →                  and only then begins to serve them; or returned: they stay
//	no more flows             →                  it looks at what clients have sent by UDP meanwhile
//	sessions …                →                  the same with them
//	counts                    →                  of what was done meanwhile; also once more at the end
//
// Up to serving, whatever goes wrong in the new one changes nothing: the old one goes on as before, and keeps its
// descriptors of the listening sockets until all that can move has moved. Before it closes the wire it has killed the new
// process, or has said everything: to the new one, a wire that ends means that the old process has died, and it goes on
// with what it has got.

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"weir/l4"
)

// The kinds of messages.
const (
	sayHello uint8 = iota + 1
	saySockets
	sayState
	sayReady
	sayFailed
	sayCommit
	sayServing
	saySessions
	sayTaken
	sayYours
	sayReturned
	sayCounts
	sayFlows
	sayNoMoreFlows
)

// handOverFormat is the version of this conversation. Documents may gain fields without a new one: what is not known is
// passed over, and what is missing is nothing.
const handOverFormat = 2

// How long each waits for the other.
const (
	helloPatience = 10 * time.Second // a program that has started says hello before it does anything else
	readyPatience = 30 * time.Second // to load, resolve, bind
	servePatience = 10 * time.Second // to take up the work, or for what else is answered at once
)

// hello is the first word of each.
type hello struct {
	Format   int    `json:"format"`
	Sessions int    `json:"sessions"` // the format of sessions; sessions stay where they are unless both know the same
	Flows    int    `json:"flows"`    // likewise
	PID      int    `json:"pid"`
	Version  string `json:"version"`
}

// socket says whose the descriptors of a sockets message are, in order. A listener may come in several parts.
type socket struct {
	Kind        string `json:"kind"`
	Name        string `json:"name"` // a listener's identity, or an address of the API
	Descriptors int    `json:"descriptors"`
	Lent        bool   `json:"lent,omitempty"` // the file of the unix socket is not to be removed
}

// The kinds of sockets.
const (
	socketListener = "listener"
	socketAdmin    = "admin"
)

// failure says why a process does not take over.
type failure struct {
	Error string `json:"error"`
}

// readiness is what the new process will take over.
type readiness struct {
	Listeners []string `json:"listeners"` // identities; the others have left the configuration
	Doors     []string `json:"doors"`     // addresses of the API, likewise
}

// send says something.
func send(w *l4.Wire, kind uint8, what any, fds ...int32) error {
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return w.Send(kind, text, fds)
}

// hear waits for something that is expected next.
func hear(w *l4.Wire, kind uint8, into any) error {
	f, err := w.Receive()
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Kind == sayFailed && kind != sayFailed {
		var why failure
		if json.Unmarshal(f.Body, &why) != nil || why.Error == "" {
			why.Error = "no reason given"
		}
		return errors.New(why.Error)
	}
	if f.Kind != kind {
		return fmt.Errorf("%w: a message of kind %d where %d was expected", l4.ErrWire, f.Kind, kind)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(f.Body, into); err != nil {
		return fmt.Errorf("%w: %w", l4.ErrWire, err)
	}
	return nil
}
