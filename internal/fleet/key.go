package fleet

import (
	"net/url"
	"strings"
)

// The first segments of all keys.
const (
	NodesKey     = "nodes"     // nodes/NODE, with a lease
	OverridesKey = "overrides" // overrides/server/CLUSTER/SERVER, overrides/cluster/CLUSTER
	LimitsKey    = "limits"
	ConfigKey    = "config"
	RolloutKey   = "rollout"
	VerdictsKey  = "verdicts" // verdicts/NODE/CLUSTER, with the lease of the node
	IdentityKey  = "identity" // one record: which history the store has
)

// Key joins segments, each escaped, so that names may contain any byte.
func Key(segments ...string) string {
	escaped := make([]string, len(segments))
	for i, s := range segments {
		escaped[i] = url.PathEscape(s)
	}
	return strings.Join(escaped, "/")
}

// Segments splits a key made by Key. It reports false for any other key, so that no two keys name the same thing.
func Segments(key string) ([]string, bool) {
	segments := strings.Split(key, "/")
	for i, s := range segments {
		name, err := url.PathUnescape(s)
		if err != nil || name == "" || url.PathEscape(name) != s {
			return nil, false
		}
		segments[i] = name
	}
	return segments, true
}

// Under reports whether a key is first or lies below it.
func Under(key, first string) bool {
	rest, ok := strings.CutPrefix(key, first)
	return ok && (rest == "" || rest[0] == '/')
}
