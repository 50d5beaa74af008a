package engine

// What listeners ask of their clients, and the gates at which these are counted.

import (
	"weir/conf"
	"weir/l4"
)

// admissions are those of the listeners, by the identity of each of their addresses. The addresses of a listener share one.
type admissionStates map[string]*l4.AdmissionState

// of finds a gate for every listener of a configuration: one that it had before at one of its addresses, if no other
// listener is to have it, preferably that of the listener with its name. Sessions go on to count where they were counted.
func (g admissionStates) of(cfg *conf.Config, running *conf.Config) (next admissionStates, kept map[*l4.AdmissionState]bool) {
	names := map[*l4.AdmissionState]string{}
	if running != nil {
		for i := range running.Listeners {
			ln := &running.Listeners[i]
			for _, at := range ln.Addresses {
				names[g[listenerID(ln.Protocol, at)]] = ln.Name
			}
		}
	}
	kept = map[*l4.AdmissionState]bool{}
	chosen := make([]*l4.AdmissionState, len(cfg.Listeners))
	for _, sameName := range []bool{true, false} {
		for i := range cfg.Listeners {
			ln := &cfg.Listeners[i]
			for _, at := range ln.Addresses {
				before := g[listenerID(ln.Protocol, at)]
				if chosen[i] == nil && before != nil && !kept[before] && (!sameName || names[before] == ln.Name) {
					chosen[i], kept[before] = before, true
				}
			}
		}
	}
	next = admissionStates{}
	for i := range cfg.Listeners {
		ln := &cfg.Listeners[i]
		if chosen[i] == nil {
			chosen[i] = l4.NewAdmissionState(perSource(ln) > 0)
		}
		for _, at := range ln.Addresses {
			next[listenerID(ln.Protocol, at)] = chosen[i]
		}
	}
	return next, kept
}

// admission is what a listener asks of its clients.
func admission(ln *conf.Listener, gate *l4.AdmissionState) l4.Admission {
	return l4.Admission{
		State:       gate,
		Allow:       l4.NewAddressSet(ln.Allow.Networks, ln.Allow.Unix),
		Deny:        l4.NewAddressSet(ln.Deny.Networks, ln.Deny.Unix),
		MaxSessions: ln.MaxSessions, MaxPerSource: perSource(ln), MaxSessionRate: ln.MaxSessionRate,
	}
}

// perSource is how many sessions a client address may have: those of a udp listener are flows.
func perSource(ln *conf.Listener) int { return stricter(ln.MaxSessionsPerSource, ln.MaxFlowsPerSource) }

// stricter is the smaller of two limits of which 0 is none.
func stricter(a, b int) int {
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
}

// limitFlows limits the flows of a udp listener. Where the file says nothing, all udp listeners together get half of the
// sessions that the process may have, or all if there is no other listener, in equal parts.
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

// countSources has those gates that were there before count by source whose listeners want it from now on, and the
// others no more.
func (r *reload) countSources() {
	for i := range r.next.cfg.Listeners {
		ln := &r.next.cfg.Listeners[i]
		if len(ln.Addresses) == 0 {
			continue
		}
		if gate := r.admission[listenerID(ln.Protocol, ln.Addresses[0])]; r.kept[gate] {
			r.e.plane.CountSources(gate, perSource(ln) > 0)
		}
	}
}
