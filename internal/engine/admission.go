package engine

import (
	"weir/conf"
	"weir/l4"
)

// admissionStates are the counters of admitted clients, by listener identity. All addresses of a listener share one.
type admissionStates map[string]*l4.AdmissionState

// of returns the state of every listener of a configuration. A listener keeps the state of one of its addresses, that of
// the listener with its name first, so that current sessions stay counted. No two listeners share a state.
func (a admissionStates) of(cfg *conf.Config, running *conf.Config) (next admissionStates, kept map[*l4.AdmissionState]bool) {
	names := map[*l4.AdmissionState]string{}
	if running != nil {
		for i := range running.Listeners {
			ln := &running.Listeners[i]
			for _, at := range ln.Addresses {
				names[a[listenerID(ln.Protocol, at)]] = ln.Name
			}
		}
	}
	kept = map[*l4.AdmissionState]bool{}
	chosen := make([]*l4.AdmissionState, len(cfg.Listeners))
	for _, sameName := range []bool{true, false} {
		for i := range cfg.Listeners {
			ln := &cfg.Listeners[i]
			for _, at := range ln.Addresses {
				old := a[listenerID(ln.Protocol, at)]
				if chosen[i] == nil && old != nil && !kept[old] && (!sameName || names[old] == ln.Name) {
					chosen[i], kept[old] = old, true
				}
			}
		}
	}
	next = admissionStates{}
	for i := range cfg.Listeners {
		ln := &cfg.Listeners[i]
		if chosen[i] == nil {
			chosen[i] = l4.NewAdmissionState(perSource(ln) > 0, ln.SourcePrefixV6)
		}
		for _, at := range ln.Addresses {
			next[listenerID(ln.Protocol, at)] = chosen[i]
		}
	}
	return next, kept
}

// admission returns the admission rules of a listener.
func admission(ln *conf.Listener, state *l4.AdmissionState) l4.Admission {
	return l4.Admission{
		State: state, MaxSessions: ln.MaxSessions, MaxPerSource: perSource(ln), MaxSessionRate: ln.MaxSessionRate,
		MaxRatePerSource: ln.MaxSessionRatePerSource,
		Allow:            accessList(&ln.Allow),
		Deny:             accessList(&ln.Deny),
	}
}

func accessList(c *conf.Clients) l4.AccessList {
	return l4.AccessList{Addresses: l4.NewAddressSet(c.Networks, c.Unix), Endpoints: l4.NewEndpointSet(c.Endpoints)}
}

// perSource returns the limit on sessions of one source; with udp, on flows.
func perSource(ln *conf.Listener) int { return stricter(ln.MaxSessionsPerSource, ln.MaxFlowsPerSource) }

// stricter returns the smaller of two limits; 0 = no limit.
func stricter(a, b int) int {
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
}

// limitFlows sets the limit on flows of a udp listener. By default, the udp listeners share half of the session limit
// equally, or all of it if there are no other listeners.
func limitFlows(set *l4.Settings, ln *conf.Listener, cfg *conf.Config, sessions int) {
	flows := ln.MaxFlows
	if flows == 0 {
		udp := 0
		for i := range cfg.Listeners {
			if cfg.Listeners[i].Protocol == "udp" {
				udp++
			}
		}
		flows = sessions
		if udp < len(cfg.Listeners) {
			flows /= 2
		}
		flows = max(1, flows/udp)
	}
	set.EvictFlows = ln.MaxSessions == 0 || flows <= ln.MaxSessions
	set.Admission.MaxSessions = stricter(ln.MaxSessions, flows)
}

// countSources starts or stops counting by source in the states that are kept.
func (r *reload) countSources() {
	for i := range r.next.cfg.Listeners {
		ln := &r.next.cfg.Listeners[i]
		if len(ln.Addresses) == 0 {
			continue
		}
		if state := r.admission[listenerID(ln.Protocol, ln.Addresses[0])]; r.kept[state] {
			r.e.plane.CountSources(state, perSource(ln) > 0, ln.SourcePrefixV6)
		}
	}
}
