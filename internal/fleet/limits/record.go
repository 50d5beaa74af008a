package limits

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"weir/internal/fleet"
)

// Kind is what a limit counts.
type Kind uint8

// The kinds of limits.
const (
	Sessions  Kind = iota // of a server
	Rate                  // new sessions per second of a listener
	PerSource             // sessions of one source of a listener
)

var kindKeys = [...]string{Sessions: "server", Rate: "rate", PerSource: "source"}

// Name returns the key of the configuration that sets limits of this kind.
func (k Kind) Name() string {
	return [...]string{Sessions: "max_sessions", Rate: "max_session_rate", PerSource: "max_sessions_per_source"}[k]
}

// ServerKey returns the key of the limit on the sessions of a server.
func ServerKey(cluster, server string) string { return fleet.Key(kindKeys[Sessions], cluster, server) }

// ListenerKey returns the key of a limit of a listener.
func ListenerKey(k Kind, listener string) string { return fleet.Key(kindKeys[k], listener) }

// KindOf returns the kind of the limit with a key.
func KindOf(key string) Kind {
	first, _, _ := strings.Cut(key, "/")
	for k, name := range kindKeys {
		if name == first {
			return Kind(k)
		}
	}
	return Sessions
}

// Part is what one node holds of a limit.
type Part struct {
	Held  int  `json:"h"`           // at most so much may be in use
	Used  int  `json:"u,omitempty"` // in use when the part last changed
	Limit int  `json:"l"`           // the limit, as the node knows it
	Full  bool `json:"f,omitempty"` // the node needs more than Held
}

// partsRecord is a record of parts: by limit, then by node. The maps are not changed in place.
type partsRecord struct {
	Limits map[string]map[string]Part `json:"limits"`
}

// nodeRecord is the last beat of a node.
type nodeRecord struct {
	ID        string `json:"id"`             // of the process
	Beat      int64  `json:"beat"`           // counts from 1
	ReserveMS int64  `json:"reserve_ms"`     // 0 = for ever
	Gone      string `json:"gone,omitempty"` // goneSilent, goneForgotten: its parts pass to others
}

const (
	goneSilent    = "silent"
	goneForgotten = "forgotten"
)

func (r *nodeRecord) reserve() time.Duration { return time.Duration(r.ReserveMS) * time.Millisecond }

// Bounds of what a record may contain.
const (
	maxPart    = math.MaxInt32
	maxReserve = 365 * 24 * time.Hour
	maxName    = 512
)

var (
	nodesPrefix = fleet.Key(fleet.LimitsKey, "nodes") + "/"
	partsPrefix = fleet.Key(fleet.LimitsKey, "parts") + "/"
)

func nodeKey(name string) string { return nodesPrefix + fleet.Key(name) }

// partsKey returns the key of the record that has the parts of a limit.
func partsKey(limit string) string {
	return fmt.Sprintf("%s%02x", partsPrefix, byte(xxhash.Sum64String(limit)))
}

// nodeOf returns the name of the node whose record has this key.
func nodeOf(key string) (name string, ok bool) {
	s, ok := fleet.Segments(key)
	if !ok || len(s) != 3 || s[0] != fleet.LimitsKey || s[1] != "nodes" || len(s[2]) > maxName {
		return "", false
	}
	return s[2], true
}

func decodeNode(r fleet.Record) (n nodeRecord, err error) {
	if err := fleet.Decode(r, fleet.MaxValue, &n); err != nil {
		return n, err
	}
	if n.ReserveMS < 0 || n.ReserveMS > maxReserve.Milliseconds() || n.Beat < 0 || len(n.ID) > maxName {
		return n, errors.New("a value is out of range")
	}
	if n.Gone != "" && n.Gone != goneSilent && n.Gone != goneForgotten {
		return n, fmt.Errorf("gone: want %s or %s", goneSilent, goneForgotten)
	}
	return n, nil
}

func decodeParts(r fleet.Record) (p partsRecord, err error) {
	if err := fleet.Decode(r, fleet.MaxValue, &p); err != nil {
		return p, err
	}
	for key, parts := range p.Limits {
		if partsKey(key) != r.Key {
			return p, errors.New("a limit is not in the record of its hash")
		}
		for node, part := range parts {
			if node == "" || len(node) > maxName {
				return p, errors.New("the name of a node is empty or too long")
			}
			if part.Limit < 1 || min(part.Held, part.Used) < 0 || max(part.Held, part.Used, part.Limit) > maxPart {
				return p, errors.New("a number is out of range")
			}
		}
	}
	return p, nil
}
