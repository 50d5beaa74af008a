package balance

// What observers read often: less than a Snapshot, and cheaper.

// ServerLoad is a server and its sessions.
type ServerLoad struct {
	Name     string
	Sessions int // leases out
	Handle   any // of the latest Commit
}

// Loads appends the servers of the cluster to list, in no particular order, and returns it and the number of leases that are out,
// including those on removed servers.
func (c *Cluster) Loads(list []ServerLoad) (_ []ServerLoad, leases int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, s := range c.servers {
		list = append(list, ServerLoad{name, s.sessions, s.Handle()})
	}
	return list, c.leases.out
}

// LevelFor returns the name of the level in use for sessions that may use the levels with these keys, in this order, as Pick chooses
// it for their first attempt; "" = none.
func (c *Cluster) LevelFor(levels []int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := Attempts{Levels: levels}
	for _, enough := range [...]bool{true, false} {
		for i := range c.candidateCount(&t) {
			if l := c.candidateLevel(&t, i); l != nil && l.eligible > 0 && (!enough || l.eligible >= l.minUp) {
				return l.name
			}
		}
	}
	return ""
}
