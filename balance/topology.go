package balance

import (
	"maps"
	"time"
)

// Role is the role of a server according to its data store.
type Role uint8

// The roles.
const (
	RoleUnknown Role = iota // there is no decision, or it does not name the server
	RolePrimary             // the one server that accepts writes
	RoleReplica             // follows the primary
	RoleOther               // known, and neither
)

// String returns the name used in the API.
func (r Role) String() string {
	return [...]string{RoleUnknown: "unknown", RolePrimary: "primary", RoleReplica: "replica", RoleOther: "other"}[r]
}

// Wanted is the role that the servers of a cluster need to serve.
type Wanted uint8

// What a cluster may want. AnyRole is a cluster without a topology.
const (
	AnyRole Wanted = iota
	WantPrimary
	WantReplica
	WantReplicaFirst // replicas, and the primary while no replica is up
)

// ServerRole is what a data store reports about one server.
type ServerRole struct {
	Role   Role
	Reason string // names the source
}

// Roles is a decision of a data store about the servers of a cluster. It is immutable.
type Roles struct {
	Servers map[string]ServerRole // by name; the others are RoleUnknown
	Unnamed string                // reason for the others
	Decided bool                  // there is a primary; without one, no server that is not known to be a replica has lost its role
	New     bool                  // it names another primary than the last one, or names it once more
}

// of returns the role of a server.
func (r *Roles) of(server string) ServerRole {
	if role, ok := r.Servers[server]; ok {
		return role
	}
	return ServerRole{Reason: r.Unnamed}
}

// Serves reports whether a server with a role may serve. reserve is set while a replica is up. This is the only place that
// compares roles:
//
//	wanted         primary            replica  other  unknown
//	any            yes                yes      yes    yes
//	primary        yes                no       no     no
//	replica        no                 yes      no     no
//	replica_first  unless a replica   yes      no     no
//	               is up
func (w Wanted) Serves(role Role, reserve bool) bool {
	switch w {
	case WantPrimary:
		return role == RolePrimary
	case WantReplica:
		return role == RoleReplica
	case WantReplicaFirst:
		return role == RoleReplica || role == RolePrimary && !reserve
	}
	return true
}

// Lost reports whether a server with a role has lost the one that is wanted, so that its sessions are at the wrong server.
// Without a decision only the opposite role is a loss: an unknown one says nothing.
//
//	wanted         primary  replica  other, unknown
//	any            no       no       no
//	primary        no       yes      if there is a primary
//	replica        yes      no       if there is a primary
//	replica_first  no       no       if there is a primary
func (w Wanted) Lost(role Role, decided bool) bool {
	switch {
	case w == AnyRole || w.Serves(role, false):
		return false
	case role == RolePrimary || role == RoleReplica:
		return true
	}
	return decided
}

// SetRoles applies a decision to all servers in one step: no pick and no event sees a part of it. A server that a new
// decision gives the wanted role starts with a clear passive record.
func (c *Cluster) SetRoles(r *Roles, now time.Duration) {
	c.lock(now)
	c.applyRoles(r)
	c.publishChanges()
	c.unlock()
}

// RestoreRoles is SetRoles for a cluster that has not been used yet: it emits no events.
func (c *Cluster) RestoreRoles(r *Roles, now time.Duration) {
	c.lock(now)
	c.applyRoles(r)
	c.publishChanges()
	for _, s := range c.servers {
		s.awaitsFirst = false
	}
	c.events = nil
	c.unlock()
}

// SetRoles makes Commit apply a decision in the same step as the specification.
func (p *Prepared) SetRoles(r *Roles) { p.roles = r }

func (c *Cluster) applyRoles(r *Roles) {
	copied := *r
	copied.Servers = maps.Clone(r.Servers)
	c.roles = copied
	for _, l := range c.levels {
		for i := range l.slots {
			s := l.slots[i].server
			if s.placements[0] != (placement{l, i}) || !s.applyRole() {
				continue
			}
			if c.roles.New && c.spec.Wanted != AnyRole && c.spec.Wanted.Serves(s.layers.Role, false) {
				s.passive.clear()
				s.layers.Passive, s.layers.PassiveReason = PassiveUp, ""
				s.awaitsFirst = s.layers.Role == RolePrimary
			}
			c.recompute(s, ByTopology, s.layers.RoleReason)
		}
	}
}

// applyRole copies the decision about the server to its layers, and reports whether it has one.
func (s *Server) applyRole() bool {
	wanted, role := s.cluster.spec.Wanted, s.cluster.roles.of(s.name)
	l := &s.layers
	if l.Role != role.Role || l.Wanted != wanted {
		l.TopologyAt = s.cluster.now
	}
	l.Wanted, l.Role, l.RoleReason = wanted, role.Role, role.Reason
	if wanted == AnyRole {
		l.Role, l.RoleReason, l.Reserve, l.TopologyAt = RoleUnknown, "", false, 0
	}
	l.RoleLost = wanted.Lost(role.Role, s.cluster.roles.Decided)
	s.roleLost.Store(l.RoleLost)
	return wanted != AnyRole
}

// SessionsWithoutRole returns how many sessions are at servers that have lost their role.
func (c *Cluster) SessionsWithoutRole() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, servers := range []map[string]*Server{c.servers, c.departed} {
		for _, s := range servers {
			if s.RoleLost() {
				n += s.sessions
			}
		}
	}
	return n
}

// RoleLost reports whether the server has lost the role that its cluster wants: a session that is about to begin there
// picks again. It takes no lock. A server that has left its cluster keeps its last value.
func (s *Server) RoleLost() bool { return s.roleLost.Load() }

// updateReserve keeps the primary of a cluster that prefers replicas out of use while a replica is up. A replica on
// probation does not count, like one that would end the use of a lower level.
func (c *Cluster) updateReserve() {
	if c.spec.Wanted != WantReplicaFirst {
		return
	}
	up := false
	for _, s := range c.servers {
		up = up || s.layers.Role == RoleReplica && s.merged.State == Up
	}
	for _, s := range c.servers {
		if reserve := up && s.layers.Role == RolePrimary; s.layers.Reserve != reserve {
			s.layers.Reserve = reserve
			c.recompute(s, ByTopology, s.layers.RoleReason)
		}
	}
}
