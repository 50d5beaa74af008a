package conf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Advice about valid configurations, for weir check.

// advise notes listeners that hosts of other networks can reach and that bound neither idle sessions nor those of one
// client.
func (d *decoder) advise(all *draft, clusters map[string]*clusterDraft) {
	for i := range all.listeners {
		l := &all.listeners[i]
		at := slices.IndexFunc(l.ranges, func(r listenRange) bool { return isPublic(r.Addr.Addr()) })
		if at < 0 || !l.servesEveryone() {
			continue
		}
		var lacks []string
		if l.Protocol == "tcp" && l.ClientIdleTimeout == 0 && slices.ContainsFunc(l.Clusters(), func(name string) bool {
			return clusters[name] != nil && clusters[name].ServerIdleTimeout == 0
		}) {
			lacks = append(lacks, "no idle timeout (client_idle_timeout)")
		}
		if key := l.perSourceKey(); key != "" {
			lacks = append(lacks, "no limit per client ("+key+")")
		}
		if len(lacks) > 0 {
			n := l.ranges[at].node
			d.notes = append(d.notes, n.File.Diagnostic(n.Offset, n.Path(),
				fmt.Sprintf("listener %s is reachable from other networks and has %s", l.Name, strings.Join(lacks, " and "))))
		}
	}
}

// servesEveryone reports whether clients of any address can have a session.
func (l *listenerDraft) servesEveryone() bool {
	v4, v6 := everyone()
	any := func(c Clients) bool { return slices.Contains(c.Networks, v4) || slices.Contains(c.Networks, v6) }
	return (l.Allow.IsEmpty() || any(l.Allow)) && !any(l.Deny) && (!l.AcceptProxy || any(l.TrustedProxies))
}

// perSourceKey returns the key that would limit the sessions of one client, or "" if one does.
func (l *listenerDraft) perSourceKey() string {
	switch {
	case l.Protocol == "udp" && l.MaxFlowsPerSource == 0:
		return "max_flows_per_source"
	case l.Protocol == "tcp" && l.MaxSessionsPerSource == 0 && l.MaxSessionRatePerSource == 0:
		return "max_sessions_per_source"
	}
	return ""
}

// isPublic reports whether an address to listen at may be reached from other networks: any address of the host, or one
// that is neither private nor link-local nor loopback.
func isPublic(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsGlobalUnicast() && !a.IsPrivate()
}
