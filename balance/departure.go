package balance

import "time"

// AddressID identifies one of the addresses that a server has had.
type AddressID uint16

// addressIDs are the addresses that a server has had.
type addressIDs map[string]AddressID

// number returns the ID of an address, which it adds if it is new.
func (a *addressIDs) number(address string) AddressID {
	if *a == nil {
		*a = addressIDs{}
	}
	id, known := (*a)[address]
	if !known {
		id = AddressID(len(*a))
		(*a)[address] = id
	}
	return id
}

// text returns the address with an ID.
func (a addressIDs) text(id AddressID) string {
	for text, i := range a {
		if i == id {
			return text
		}
	}
	return ""
}

// Departure is a server that has left its cluster, or an address that a server has left. It ends when the server or the
// address returns. Until then its sessions drain.
type Departure struct {
	Server  *Server
	Address AddressID
	number  uint64
}

// leave begins the departure of an address of the server.
func (s *Server) leave(address AddressID) Departure {
	s.cluster.departures++
	if s.left == nil {
		s.left = map[AddressID]uint64{}
	}
	s.left[address] = s.cluster.departures
	return Departure{s, address, s.cluster.departures}
}

// Lasts reports whether neither the server nor the address has returned, nor left once more.
func (d Departure) Lasts() bool {
	c := d.Server.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	return d.Server.left[d.Address] == d.number
}

// AddressText returns the address as written in the specification.
func (d Departure) AddressText() string {
	c := d.Server.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	return d.Server.addresses.text(d.Address)
}

// Moved reports whether the server serves at another address.
func (d Departure) Moved() bool {
	c := d.Server.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(d.Server.placements) > 0 && d.Server.address != d.Address
}

// depart keeps a server that has left, so that it can return to its sessions.
func (c *Cluster) depart(s *Server) {
	s.placements = s.placements[:0]
	if s.sessions == 0 {
		return
	}
	if c.departed == nil {
		c.departed = map[string]*Server{}
	}
	c.departed[s.name] = s
}

// Retire records that the cluster has left the configuration, and returns the departures of its servers. Sessions that
// have begun may still pick. The next Commit makes the cluster return with the sessions it has.
func (c *Cluster) Retire(now time.Duration) (left []Departure) {
	c.lock(now)
	defer c.unlock()
	c.retired = true
	for _, s := range c.servers {
		left = append(left, s.leave(s.address))
	}
	return left
}

// Expect records that a server, or one of its addresses, has left before the cluster existed, for sessions of another process
// (Adopt). handle becomes that of a server that the cluster lacks. It returns false if the server has the address, or its
// departure lasts already.
func (c *Cluster) Expect(server, address string, handle any, now time.Duration) (Departure, bool) {
	c.lock(now)
	defer c.unlock()
	if s := c.find(server); s != nil {
		id := s.addresses.number(address)
		if id == s.address || s.left[id] != 0 {
			return Departure{}, false
		}
		return s.leave(id), true
	}
	if c.departed == nil {
		c.departed = map[string]*Server{}
	}
	s := &Server{cluster: c, name: server}
	s.public.Store(&public{address, handle})
	s.address = s.addresses.number(address)
	c.departed[server] = s
	return s.leave(s.address), true
}

// Find returns the server with that name, also if it has left and still has sessions, or nil.
func (c *Cluster) Find(name string) *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(name)
}

// find is Find. mu must be held.
func (c *Cluster) find(name string) *Server {
	if s := c.servers[name]; s != nil {
		return s
	}
	return c.departed[name]
}

// HasEligible reports whether a session that may use any level could get a server.
func (c *Cluster) HasEligible(now time.Duration) bool {
	c.lock(now)
	defer c.unlock()
	return c.level >= 0
}

// Leases returns how many leases are out, including those on servers that have left.
func (c *Cluster) Leases() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leases.out
}
