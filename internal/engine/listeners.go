package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"net"
	"net/netip"
	"os"
	"strings"

	"weir/conf"
	"weir/l4"
)

// listenerID returns the identity of a listener, which survives reloads.
func listenerID(protocol string, at conf.Address) string { return protocol + " " + at.String() }

// openListeners opens the listeners that are not open yet. The error names all that cannot be opened.
func (r *reload) openListeners() error {
	var failed []error
	cfg := r.next.cfg
	states := maps.Clone(r.e.retiredAdmissions)
	maps.Copy(states, r.e.admissions)
	r.admission, r.kept = states.of(cfg, r.old.cfg)
	for i := range cfg.Listeners {
		ln := &cfg.Listeners[i]
		if err := checkInterface(ln.Interface); err != nil {
			failed = append(failed, fmt.Errorf("%s: listener %s: %w", cfg.ListenerPosition(ln.Name), ln.Name, err))
			continue
		}
		set := r.listenerSettings(ln)
		for _, at := range ln.Addresses {
			id := listenerID(ln.Protocol, at)
			r.settings[id] = set
			current := r.e.listeners[id]
			if current != nil && !current.FileLost() {
				continue
			}
			opened, err := r.openListener(id, ln.Protocol, at, set)
			if err == nil && current != nil {
				r.replacements[id] = opened
				continue
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("%s: listener %s: %w", cfg.ListenerPosition(ln.Name), ln.Name, err))
				continue
			}
			r.opened[id] = opened
		}
	}
	return errors.Join(failed...)
}

// checkInterface returns an error if this host lacks a network interface; "" = none.
func checkInterface(name string) error {
	if name == "" {
		return nil
	}
	if _, err := net.InterfaceByName(name); err != nil {
		return fmt.Errorf("interface %s: this host has no such network interface", name)
	}
	return nil
}

// openListener takes the socket of the old process or of the service manager, or binds a new one. A listener that has left
// and still has sessions is opened again.
func (r *reload) openListener(id, protocol string, at conf.Address, set *l4.Settings) (*l4.Listener, error) {
	listen, inherit := r.e.plane.Listen, r.e.plane.Inherit
	if protocol == "udp" {
		listen, inherit = r.e.plane.ListenUDP, r.e.plane.InheritUDP
	}
	if p := r.e.oldProcess; p != nil && !lacksFile(at) {
		if fds, keepFile := p.Listener(id); len(fds) > 0 {
			ln := inherit(at, set, fds)
			if keepFile {
				ln.KeepFile()
			}
			return ln, nil
		}
	}
	if a := r.e.activated[id]; a != nil {
		delete(r.e.activated, id)
		return r.e.plane.ListenActivated(a, set), nil
	}
	shared := r.sharesPort(protocol, at)
	if ln := r.e.retiredListeners[id]; ln != nil && protocol == "tcp" && ln.Counters().Live > 0 {
		return ln, ln.Reopen(set, shared)
	}
	return listen(at, set, shared)
}

// lacksFile reports whether the file of a unix socket was removed: clients cannot reach a socket that has this path.
func lacksFile(at conf.Address) bool {
	if at.Path == "" || at.Path[0] == '@' {
		return false
	}
	_, err := os.Lstat(at.Path)
	return errors.Is(err, fs.ErrNotExist)
}

// sharesPort reports whether a listener of this process, open now or about to be, has the port of an address. A specific
// address may exist beside a wildcard, and either may replace the other before that one is closed.
func (r *reload) sharesPort(protocol string, at conf.Address) bool {
	if at.Path != "" {
		return false
	}
	if r.e.oldProcess != nil && r.e.oldProcess.HasPort(at.Addr.Port()) {
		return true
	}
	for _, set := range []map[string]*l4.Listener{r.e.listeners, r.opened} {
		for id, ln := range set {
			if own := ln.Address(); strings.HasPrefix(id, protocol+" ") && own.Path == "" && own.Addr.Port() == at.Addr.Port() {
				return true
			}
		}
	}
	return false
}

// closeOpened closes the listeners of a reload that is not committed.
func (r *reload) closeOpened() {
	for _, opened := range []map[string]*l4.Listener{r.opened, r.replacements} {
		for _, ln := range opened {
			ln.Discard()
		}
	}
}

// commitListeners starts the new listeners, updates the others, and returns those that have left.
func (r *reload) commitListeners() (left []*l4.Listener) {
	r.countSources()
	for id, next := range r.replacements {
		r.e.listeners[id].ReplaceSocket(next)
	}
	for id, ln := range r.e.listeners {
		if set := r.settings[id]; set != nil {
			ln.Update(set)
		} else {
			left = append(left, ln)
			delete(r.e.listeners, id)
			r.e.retiredListeners[id], r.e.retiredAdmissions[id] = ln, r.e.admissions[id]
		}
	}
	r.e.admissions = r.admission
	maps.Copy(r.e.listeners, r.opened)
	for id, ln := range r.opened {
		r.e.drains.returned(ln)
		if len(r.unasked) > 0 {
			r.unstarted = append(r.unstarted, ln)
		} else {
			ln.Start()
		}
		delete(r.e.retiredListeners, id)
	}
	r.pruneRetired()
	r.e.published.listeners.Store(new(maps.Clone(r.e.listeners)))
	return left
}

// pruneRetired forgets listeners that have left and cannot return to sessions.
func (r *reload) pruneRetired() {
	used := map[*l4.AdmissionState]bool{}
	for _, state := range r.admission {
		used[state] = true
	}
	maps.DeleteFunc(r.e.retiredListeners, func(_ string, ln *l4.Listener) bool { return ln.Counters().Live <= 0 })
	maps.DeleteFunc(r.e.retiredAdmissions, func(id string, state *l4.AdmissionState) bool {
		return used[state] || r.e.retiredListeners[id] == nil
	})
}

// listenerSettings returns the settings of a listener for the data plane.
func (r *reload) listenerSettings(ln *conf.Listener) *l4.Settings {
	cfg := r.next.cfg
	s := &l4.Settings{
		Name: ln.Name, ClientIdle: ln.ClientIdleTimeout, HalfClose: ln.HalfCloseTimeout,
		Freebind: ln.Freebind, MaxRateUp: ln.MaxRateUp, MaxRateDown: ln.MaxRateDown, SocketOptions: l4.SocketOptions{
			Keepalive: ln.TCPKeepalive, UserTimeout: ln.TCPUserTimeout, Backlog: ln.Backlog, DeferAccept: ln.DeferAccept, FastOpen: ln.FastOpen,
			UnixFile: unixFile(ln), Interface: ln.Interface,
		},
		FlowTimeout: ln.FlowTimeout, Drain: cfg.Runtime.DrainTimeout, Responses: ln.Responses,
		Requests: ln.Requests, MaxFlowAge: ln.MaxFlowAge,
	}
	s.WaitWhenFull = ln.WhenFull == "wait"
	s.Records = map[string]l4.Records{"errors": l4.RecordErrors, "all": l4.RecordAll}[cfg.Log.Sessions]
	if ln.AcceptProxy {
		s.AcceptProxy, s.ProxyTimeout = true, ln.ProxyTimeout
		s.TrustedProxies = l4.NewAddressSet(ln.TrustedProxies.Networks, ln.TrustedProxies.Unix)
	}
	s.Admission = admission(ln, r.admission[listenerID(ln.Protocol, ln.Addresses[0])])
	if ln.Protocol == "udp" {
		s.Servers = r.serverAddresses(ln)
		limitFlows(s, ln, cfg, r.budget.effective(cfg))
	}
	if ln.Promote == "auto" && len(cfg.Runtime.PromoteInterfaces) > 0 {
		after := ln.PromoteAfter
		s.Promote = &l4.PromoteAfter{Requests: uint32(min(after.Requests, math.MaxUint32)), Bytes: uint64(after.Bytes), Age: after.Age}
	}
	r.addRoutes(s, ln)
	r.setCluster(s, ln.Cluster, ln.Levels)
	return s
}

// serverAddresses returns the addresses of the servers of a listener's clusters, those of names included.
func (r *reload) serverAddresses(ln *conf.Listener) l4.ServerAddresses {
	list, same := l4.ServerAddresses{}, false
	for _, name := range ln.Clusters() {
		for s := range r.next.cfg.Cluster(name).Servers() {
			at := s.Address
			same = same || at.SamePort
			if at.Addr.IsValid() {
				list.Add(at.Addr)
			}
			for _, ip := range r.next.addresses[at.Host] {
				list.Add(netip.AddrPortFrom(ip, at.Port))
			}
		}
	}
	if same {
		for _, at := range ln.Addresses {
			list.AddListenerPort(at.Port)
		}
	}
	return list
}

// setCluster sets what the settings of a session take from its cluster. levels are the indexes of those to try; nil = all.
func (r *reload) setCluster(s *l4.Settings, cluster string, levels []int) {
	r.e.setCluster(s, r.next, cluster, levels)
}

func (e *Engine) setCluster(s *l4.Settings, of *runningState, cluster string, levels []int) {
	c := of.cfg.Cluster(cluster)
	s.Cluster, s.ClusterName, s.LevelNames, s.Hash = of.clusters[c.Name], c.Name, map[int]string{}, hashKey(c)
	s.ConnectTimeout, s.TryTimeout, s.QueueTimeout, s.HoldTimeout = c.ConnectTimeout, c.TryTimeout, c.QueueTimeout, c.HoldTimeout
	s.Greeting, s.GreetingTimeout = map[string]l4.Greeting{"mysql": l4.GreetingMySQL, "redis": l4.GreetingRedis}[c.Greeting], cmp.Or(c.GreetingTimeout, c.ConnectTimeout)
	s.ServerIdle = c.ServerIdleTimeout
	s.MaxAge, s.AgeJitter, s.Closer = c.MaxSessionAge, c.MaxSessionAgeJitter, e.closings.closer(c.Name)
	if typ, ok := c.ProxyTLV(); ok {
		s.HashTLV, s.HashSubtype = typ, 0
		if subtype, has := c.HashSubtype(); has {
			s.HashSubtype = subtype
		}
	}
	for _, i := range levels {
		s.Levels = append(s.Levels, e.levels.key(c.Name, c.Levels[i].Name, i))
	}
	for i, level := range c.Levels {
		s.LevelNames[e.levels.key(c.Name, level.Name, i)] = c.LevelName(i)
	}
}

func hashKey(c *conf.Cluster) l4.HashKey {
	if c.Balance != "hash" && c.Balance != "maglev" {
		return l4.NoHash
	}
	switch c.HashKey {
	case "client_ip_port":
		return l4.HashClientIPPort
	case "local_address":
		return l4.HashLocalAddress
	}
	if c.HashesSNI() {
		return l4.HashServerName
	}
	if _, ok := c.ProxyTLV(); ok {
		return l4.HashProxyTLV
	}
	return l4.HashClientIP
}
