package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Override is what an operator has said about one object: a server, or a cluster whose servers or settings were changed at
// run time. It is the value of a record; see OverrideKey.
type Override struct {
	Node   string    `json:"node"`             // where it was said
	By     string    `json:"by,omitempty"`     // who asked
	Reason string    `json:"reason,omitempty"` // the operator's
	At     time.Time `json:"at"`

	// Value is the override as the engine writes it; nil = none: the object was reset.
	Value json.RawMessage `json:"value,omitempty"`

	// Origin is the record of an earlier history of the store that this one restores; nil = said in the history of the store.
	Origin *Origin `json:"origin,omitempty"`
}

// Origin identifies a revision of a record in a history of the store.
type Origin struct {
	Identity string `json:"identity"`
	Revision int64  `json:"revision"`
}

// The kinds of objects that have overrides.
const (
	ServerObject  = "server"  // overrides/server/CLUSTER/SERVER
	ClusterObject = "cluster" // overrides/cluster/CLUSTER
	NodeObject    = "node"    // overrides/node/NODE
)

// ServerKey returns the key of the override of a server.
func ServerKey(cluster, server string) string {
	return Key(OverridesKey, ServerObject, cluster, server)
}

// ClusterKey returns the key of the runtime changes of a cluster.
func ClusterKey(cluster string) string { return Key(OverridesKey, ClusterObject, cluster) }

// NodeOverrideKey returns the key of the override of a node.
func NodeOverrideKey(node string) string { return Key(OverridesKey, NodeObject, node) }

// ParseNodeOverrideKey returns the node of a key.
func ParseNodeOverrideKey(key string) (node string, ok bool) {
	s, ok := Segments(key)
	if !ok || len(s) != 3 || s[0] != OverridesKey || s[1] != NodeObject {
		return "", false
	}
	return s[2], true
}

// isOverrideKey reports whether a key is that of an object.
func isOverrideKey(key string) bool {
	_, _, ok := ParseOverrideKey(key)
	_, node := ParseNodeOverrideKey(key)
	return ok || node
}

// ParseOverrideKey returns the cluster and the server of a key; server is "" for a cluster.
func ParseOverrideKey(key string) (cluster, server string, ok bool) {
	s, ok := Segments(key)
	switch {
	case ok && len(s) == 4 && s[0] == OverridesKey && s[1] == ServerObject:
		return s[2], s[3], true
	case ok && len(s) == 3 && s[0] == OverridesKey && s[1] == ClusterObject:
		return s[2], "", true
	}
	return "", "", false
}

const maxText = 500 // bytes of names, operators and reasons

// Encode returns the value of the record.
func (o *Override) Encode() ([]byte, error) { return Encode(o, MaxValue) }

// DecodeOverride decodes and validates a record. It does not interpret Value. The error is a *Problem.
func DecodeOverride(r Record) (*Override, error) {
	var o Override
	if err := Decode(r, MaxValue, &o); err != nil {
		return nil, err
	}
	if !isOverrideKey(r.Key) {
		return nil, &Problem{r.Key, "not the key of a server, a cluster or a node"}
	}
	if err := o.check(); err != nil {
		return nil, &Problem{r.Key, err.Error()}
	}
	return &o, nil
}

func (o *Override) check() error {
	for name, text := range map[string]string{"node": o.Node, "by": o.By, "reason": o.Reason} {
		if len(text) > maxText {
			return fmt.Errorf("%s: longer than %d bytes", name, maxText)
		}
	}
	if bytes.Equal(o.Value, []byte("null")) {
		o.Value = nil
	}
	switch {
	case o.Node == "":
		return errors.New("node: missing")
	case o.At.IsZero():
		return errors.New("at: missing")
	case o.Value != nil && o.Value[0] != '{':
		return errors.New("value: want an object")
	case o.Origin != nil && (o.Origin.Identity == "" || len(o.Origin.Identity) > maxText || o.Origin.Revision <= 0):
		return errors.New("origin: want an identity and a revision")
	}
	return nil
}

// same reports whether two overrides are one: said by one node at one time.
func (o *Override) same(other *Override) bool {
	return o != nil && other != nil && o.Node == other.Node && o.At.Equal(other.At) && bytes.Equal(o.Value, other.Value)
}

// history names the sequence of revisions that a store has. A store that was wiped has another one.
type history struct {
	Identity string    `json:"identity"`
	Node     string    `json:"node"` // that created it, or said the last reset
	At       time.Time `json:"at"`
	Reset    bool      `json:"reset,omitempty"` // the overrides were removed on purpose at the revision of this record
	By       string    `json:"by,omitempty"`
}

// decodeHistory decodes the record at IdentityKey. The error is a *Problem.
func decodeHistory(r Record) (history, error) {
	var h history
	if err := Decode(r, MaxValue, &h); err != nil {
		return h, err
	}
	if h.Identity == "" || len(h.Identity) > maxText {
		return h, &Problem{r.Key, "identity: want 1 to 500 bytes"}
	}
	return h, nil
}
