package topology

import (
	"fmt"
	"net/netip"
	"time"

	"weir/conf"
)

// Role is the role of a server according to its data store.
type Role uint8

// The roles.
const (
	Unknown Role = iota // the source does not know the server, or there is no decision; it does not demote a server
	Primary             // the one server that accepts writes
	Replica             // follows the primary and may serve reads
	Other               // known, and neither: out of sync, diverged, or out of service according to the source
)

// String returns the name used in status and explanations.
func (r Role) String() string {
	switch r {
	case Primary:
		return "primary"
	case Replica:
		return "replica"
	case Other:
		return "other"
	}
	return "unknown"
}

// ParseRole is the inverse of String. An unknown word is Unknown.
func ParseRole(s string) Role {
	for _, r := range []Role{Primary, Replica, Other} {
		if r.String() == s {
			return r
		}
	}
	return Unknown
}

// View is what a source knows at one moment. It is immutable.
type View struct {
	Members []Member // known servers, sorted by address; bounded by MaxMembers. In a conflict of Sentinels their roles are Unknown
	Primary string   // address of the primary as in Members; "" = there is none

	// Source describes the decision for reasons and events, such as "sentinel: primary is 10.0.0.2:6379, epoch 7".
	Source string
	Epoch  uint64 // of the decision; 0 = the source has no epochs
	Fence  uint64 // decisions with a lower epoch are ignored; at most Epoch
	GTID   string // of the primary; "" = the source has none

	// DecidedAt is when the decision was made, LastEvidence when the source last confirmed the primary before it. They are
	// zero before the first decision.
	DecidedAt, LastEvidence time.Time

	Stale   time.Time // since when the source cannot confirm the decision; zero = it does
	Problem string    // conflict, lost quorum, unusable replies; "" = none. Printable and clipped
}

// Member is a server known to a source.
type Member struct {
	Name    string // of the server in the configuration; "" = found by the source
	Address string // host:port with a literal IP address if the source gave one, else with the name that it announced
	Role    Role
	Reason  string // of the role; printable and clipped
}

// MaxMembers limits the servers in a View. A source that announces more has a Problem.
const MaxMembers = 1024

// Server is a server of the cluster.
type Server struct {
	Name      string
	Address   string           // as configured
	Addresses []netip.AddrPort // resolved; several if its name has several addresses
	SendProxy string           // as of checks.Target
	Interface string           // as of checks.Target
	Source    netip.Addr       // local address; zero = chosen by the kernel
}

// Watcher watches one source.
type Watcher interface {
	// SetServers replaces the servers of the cluster. It does not block.
	SetServers([]Server)
	// Reset drops the epoch fence and the decision that depends on it, and asks the source again.
	Reset()
	// Close ends all connections and waits for the goroutines. Publish is not called afterwards.
	Close()
}

// Options are the parameters of a watcher.
type Options struct {
	Cluster string
	Spec    conf.Topology
	Servers []Server

	// Saved is the decision of an earlier process or of the watcher that this one replaces: its fence applies, and its
	// decision stays in force, stale, until the source has been asked. The consumer applies Saved.View itself, and the watcher
	// starts with the same View. Zero = none.
	Saved Saved

	// Publish receives each View that differs from the one before. It is called by one goroutine at a time and must not
	// block for long. It is called for the first time after the source has been asked.
	Publish func(View)
}

// Saved is the part of a decision that outlives its process. It is plain data.
type Saved struct {
	Primary string        `json:"primary,omitempty"`
	Epoch   uint64        `json:"epoch,omitempty"` // no decision with a lower one is accepted
	GTID    string        `json:"gtid,omitempty"`
	At      time.Time     `json:"at,omitzero"` // of the decision
	Members []SavedMember `json:"members,omitempty"`
}

// SavedMember is a Member of a saved decision.
type SavedMember struct {
	Name    string `json:"name,omitempty"`
	Address string `json:"address"`
	Role    string `json:"role"`
}

// Save returns the part of a View that outlives the process. Its epoch is the fence: one Sentinel alone can raise the epoch
// of a decision.
func (v *View) Save() Saved {
	s := Saved{Primary: v.Primary, Epoch: v.Fence, GTID: v.GTID, At: v.DecidedAt}
	for _, m := range v.Members {
		s.Members = append(s.Members, SavedMember{m.Name, m.Address, m.Role.String()})
	}
	return s
}

// View returns the stale View of a saved decision, or a View without a decision if there is none. source is the type of the
// topology.
func (s *Saved) View(source string, now time.Time) View {
	if s.At.IsZero() {
		return View{Epoch: s.Epoch, Fence: s.Epoch}
	}
	v := View{Primary: s.Primary, Epoch: s.Epoch, Fence: s.Epoch, GTID: s.GTID, DecidedAt: s.At, Stale: now}
	switch {
	case s.Primary == "":
		v.Source = source + ": no primary"
	case s.Epoch > 0:
		v.Source = fmt.Sprintf("%s: primary is %s, epoch %d", source, s.Primary, s.Epoch)
	default:
		v.Source = fmt.Sprintf("%s: primary is %s", source, s.Primary)
	}
	for _, m := range s.Members {
		v.Members = append(v.Members, Member{m.Name, m.Address, ParseRole(m.Role), "saved"})
	}
	return v
}
