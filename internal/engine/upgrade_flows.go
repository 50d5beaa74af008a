package engine

// UDP listeners that drain during an upgrade: the new process takes their sockets, and their flows continue there until the
// deadline that they had. So do those of listeners that leave the configuration with the upgrade.

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"weir/balance"
	"weir/conf"
	"weir/l4"
)

// flowListener is what the flows of a UDP listener need that the configuration of the new process may lack.
type flowListener struct {
	Name           string         `json:"name"`
	Cluster        string         `json:"cluster"`
	Levels         []string       `json:"levels,omitempty"` // names or numbers; empty = all
	FlowTimeout    time.Duration  `json:"flow_timeout"`
	ConnectTimeout time.Duration  `json:"connect_timeout"`
	TryTimeout     time.Duration  `json:"try_timeout"`
	Responses      int            `json:"responses"`
	Requests       int            `json:"requests"`
	MaxFlowAge     time.Duration  `json:"max_flow_age"`
	AcceptProxy    bool           `json:"accept_proxy"`
	TrustedProxies []netip.Prefix `json:"trusted_proxies,omitempty"`
	Records        l4.Records     `json:"records"`
}

// holdDraining keeps the UDP listeners that drain open during an upgrade. mu is held.
func (e *Engine) holdDraining() {
	e.heldListeners = map[string]*l4.Listener{}
	for _, ln := range e.plane.HoldDraining() {
		e.heldListeners[listenerID("udp", ln.Address())] = ln
	}
}

// releaseDraining ends holdDraining. Those without flows close.
func (e *Engine) releaseDraining() {
	for _, ln := range e.heldListeners {
		ln.Release()
	}
	e.heldListeners = nil
}

// flowListeners returns the UDP listeners, with those that drain. mu is held.
func (e *Engine) flowListeners() map[string]flowListener {
	all := map[string]flowListener{}
	for _, set := range []map[string]*l4.Listener{e.listeners, e.heldListeners} {
		for id, ln := range set {
			if ln.UDP() {
				all[id] = describeFlows(ln.Settings())
			}
		}
	}
	return all
}

func describeFlows(set *l4.Settings) flowListener {
	f := flowListener{
		Name: set.Name, Cluster: set.ClusterName, FlowTimeout: set.FlowTimeout, ConnectTimeout: set.ConnectTimeout, TryTimeout: set.TryTimeout,
		Responses: set.Responses, Requests: set.Requests, MaxFlowAge: set.MaxFlowAge,
		AcceptProxy: set.AcceptProxy, TrustedProxies: set.TrustedProxies.Networks(), Records: set.Records,
	}
	for _, key := range set.Levels {
		f.Levels = append(f.Levels, set.LevelName(key))
	}
	return f
}

// settings returns the settings for the flows. c is the configuration of their cluster; nil = it has left.
func (f *flowListener) settings(e *Engine, c *conf.Cluster) *l4.Settings {
	s := &l4.Settings{
		Name: f.Name, ClusterName: f.Cluster, FlowTimeout: f.FlowTimeout, ConnectTimeout: f.ConnectTimeout, TryTimeout: f.TryTimeout,
		Responses: f.Responses, Requests: f.Requests, MaxFlowAge: f.MaxFlowAge, Drain: e.running.Load().cfg.Runtime.DrainTimeout,
		AcceptProxy: f.AcceptProxy, TrustedProxies: l4.NewAddressSet(f.TrustedProxies, false), Records: f.Records, LevelNames: map[int]string{},
	}
	if c == nil {
		return s
	}
	s.Hash = hashKey(c)
	if typ, ok := c.ProxyTLV(); ok {
		s.HashTLV = typ
	}
	for i, level := range c.Levels {
		s.LevelNames[e.levels.key(c.Name, level.Name, i)] = c.LevelName(i)
	}
	for _, name := range f.Levels {
		if key := s.LevelKey(name); key >= 0 {
			s.Levels = append(s.Levels, key)
		}
	}
	return s
}

// inheritFlowListeners takes the sockets of UDP listeners that the configuration lacks, if this process can continue their
// flows.
func (d *departedObjects) inheritFlowListeners() {
	p := d.engine.oldProcess
	if p.state == nil || p.FlowFormat() != l4.FlowFormat {
		return
	}
	for id := range p.state.FlowListeners {
		at, err := netip.ParseAddrPort(strings.TrimPrefix(id, "udp "))
		if err != nil {
			continue
		}
		if fds, _ := p.Listener(id); len(fds) > 0 {
			d.flows[id] = d.engine.plane.InheritUDP(conf.Address{Addr: at, Port: at.Port()}, &l4.Settings{}, fds)
		}
	}
}

// discardFlowListeners closes those listeners: the old process keeps the flows, or has ended.
func (d *departedObjects) discardFlowListeners() {
	for _, ln := range d.flows {
		ln.Discard()
	}
	clear(d.flows)
}

// startFlowListeners lets those listeners drain, and holds them until all flows have arrived. mu is held.
func (d *departedObjects) startFlowListeners() {
	e := d.engine
	running := e.running.Load()
	for id, ln := range d.flows {
		f := e.oldProcess.state.FlowListeners[id]
		set := f.settings(e, running.cfg.Cluster(f.Cluster))
		set.Cluster = running.clusters[f.Cluster]
		if set.Cluster == nil {
			set.Cluster = d.retiredCluster(f.Cluster)
		}
		address := ln.Address().String()
		set.Admission.State = d.admission("udp", l4.Binding{Address: address, Listener: f.Name})
		ln.Update(set)
		ln.Hold()
		ln.Start()
		e.retiredListeners[id] = ln
		d.retire(retired{listeners: []*l4.Listener{ln}}, departure{Listener: address, UDP: true})
	}
}

// releaseFlowListeners lets the listeners close whose flows have ended or did not arrive.
func (d *departedObjects) releaseFlowListeners() {
	for _, ln := range d.flows {
		ln.Release()
	}
}

// retiredCluster returns the cluster with a name that has left.
func (d *departedObjects) retiredCluster(name string) *balance.Cluster {
	e := d.engine
	c := e.retiredClusters[name]
	if c == nil {
		c = balance.New(balance.Spec{Name: name}, rand.Uint64(), e.handleEvent)
		c.Retire(e.plane.Now())
		e.retiredClusters[name] = c
	}
	return c
}
