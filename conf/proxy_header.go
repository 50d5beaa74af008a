package conf

// Rules of the PROXY protocol for listeners and clusters.

import (
	"slices"

	"weir/conf/internal/tree"
)

// validateProxyHeaders validates trusted_proxies and what needs headers, and warns if no listener can supply the hash key of a cluster.
func (d *decoder) validateProxyHeaders(all *draft, clusters map[string]*clusterDraft) {
	headers := make(map[string]bool) // clusters whose clients may send a header
	for i := range all.listeners {
		l := &all.listeners[i]
		switch {
		case l.AcceptProxy:
			for _, name := range l.Clusters() {
				headers[name] = true
			}
			d.validateTrustedProxies(l)
		case l.node.Get("accept_proxy") == nil || l.node.Get("accept_proxy").Value == false:
			d.validateEndpoints(l)
			for _, name := range []string{"trusted_proxies", "proxy_timeout"} {
				if n := l.node.Get(name); n != nil {
					d.warn(n, "%s has no effect without accept_proxy", name)
				}
			}
		}
	}
	for i := range all.clusters {
		c := &all.clusters[i]
		if clusters[c.Name] != c || headers[c.Name] || c.Balance != "hash" && c.Balance != "maglev" {
			continue
		}
		if _, ok := c.ProxyTLV(); ok {
			d.warn(c.node.Get("hash_key"), "no listener of cluster %s has accept_proxy: every client is balanced by wrr", c.Name)
		}
	}
}

// validateTrustedProxies requires trusted_proxies, except for unix sockets: the mode of the socket decides who can
// connect.
func (d *decoder) validateTrustedProxies(l *listenerDraft) {
	ip := slices.ContainsFunc(l.ranges, func(r listenRange) bool { return r.Path == "" })
	n := l.node.Get("trusted_proxies")
	switch {
	case n == nil && ip && !d.incomplete && !l.node.Incomplete && !d.suggested[l.node]["trusted_proxies"]:
		n = l.node.Get("accept_proxy")
	case n != nil && ip && n.Kind == tree.List && len(n.Items) == 0:
	default:
		return
	}
	d.errorAt(n, "trusted_proxies must list who may send PROXY headers (use [\"0.0.0.0/0\",\"::/0\"] to trust all)")
}
