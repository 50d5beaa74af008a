package engine

// The roles of servers: which members of a view are servers of the cluster.

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"weir/balance"
	"weir/conf"
	"weir/internal/topology"
)

// topologyServers returns the servers of a cluster for its watcher.
func topologyServers(c *conf.Cluster, known addresses) (list []topology.Server) {
	seen := map[string]bool{}
	for s := range c.Servers() {
		if seen[s.Name] {
			continue
		}
		seen[s.Name] = true
		one := topology.Server{Name: s.Name, Address: s.Address.String(), SendProxy: s.SendProxy, Interface: s.Interface, Addresses: known.of(s.Address)}
		if len(one.Addresses) > 0 {
			one.Source = s.Source.AddrFor(one.Addresses[0].Addr())
		}
		list = append(list, one)
	}
	return list
}

// matcher finds the servers of a cluster that are members of a view.
type matcher struct {
	names     map[string]bool
	byAddress map[netip.AddrPort][]string // names of servers
	byText    map[string][]string         // by the address as configured
	hosts     *memberHosts
}

func newMatcher(servers []topology.Server, hosts *memberHosts) *matcher {
	m := &matcher{names: map[string]bool{}, byAddress: map[netip.AddrPort][]string{}, byText: map[string][]string{}, hosts: hosts}
	for _, s := range servers {
		m.names[s.Name] = true
		text := strings.ToLower(s.Address)
		m.byText[text] = append(m.byText[text], s.Name)
		for _, a := range s.Addresses {
			a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
			m.byAddress[a] = append(m.byAddress[a], s.Name)
		}
	}
	return m
}

// find returns the names of the servers that a member is: by its name, else by its address. Several servers may have one
// address.
func (m *matcher) find(name, address string) []string {
	if m.names[name] {
		return []string{name}
	}
	if list := m.byText[strings.ToLower(address)]; list != nil {
		return list
	}
	if at, err := netip.ParseAddrPort(address); err == nil {
		return m.byAddress[netip.AddrPortFrom(at.Addr().Unmap(), at.Port())]
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	n, _ := strconv.ParseUint(port, 10, 16)
	for _, ip := range m.hosts.lookup(host) {
		if list := m.byAddress[netip.AddrPortFrom(ip, uint16(n))]; list != nil {
			return list
		}
	}
	return nil
}

// roles returns the roles of the servers according to the view. mu is held.
func (t *clusterTopology) roles() *balance.Roles {
	v := &t.view
	roles := &balance.Roles{Servers: map[string]balance.ServerRole{}, Decided: v.Primary != "", Unnamed: v.Source}
	m := newMatcher(t.servers, t.hosts)
	for i := range v.Members {
		member := &v.Members[i]
		role := roleOf(member.Role)
		if role == balance.RoleUnknown {
			continue
		}
		reason := v.Source
		if role == balance.RoleOther && member.Reason != "" {
			reason = t.spec.Type + ": " + member.Reason
		}
		for _, name := range m.find(member.Name, member.Address) {
			if old, known := roles.Servers[name]; !known || rank(role) > rank(old.Role) { // a name with several addresses
				roles.Servers[name] = balance.ServerRole{Role: role, Reason: reason}
			}
		}
	}
	if roles.Unnamed == "" {
		roles.Unnamed = t.spec.Type + ": no decision yet"
		if v.Problem != "" {
			roles.Unnamed = t.spec.Type + ": " + v.Problem
		}
	}
	return roles
}

// rank orders the roles that the addresses of one server have: a server that is anywhere the primary is the primary.
func rank(r balance.Role) int {
	return map[balance.Role]int{balance.RolePrimary: 3, balance.RoleReplica: 2, balance.RoleOther: 1}[r]
}

func roleOf(r topology.Role) balance.Role {
	return map[topology.Role]balance.Role{
		topology.Primary: balance.RolePrimary, topology.Replica: balance.RoleReplica, topology.Other: balance.RoleOther,
	}[r]
}

// primaryName returns the name of the primary of the view for events: that of its server, else its address. mu is held.
func (t *clusterTopology) primaryName() string {
	v := &t.view
	if v.Primary == "" {
		return ""
	}
	name := ""
	for i := range v.Members {
		if v.Members[i].Address == v.Primary {
			name = v.Members[i].Name
		}
	}
	if list := newMatcher(t.servers, t.hosts).find(name, v.Primary); len(list) > 0 {
		return list[0]
	}
	return v.Primary
}
