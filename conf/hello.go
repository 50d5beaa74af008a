package conf

// Rules about the TLS ClientHello that some listeners wait for.

// validateHellos warns about keys that need a ClientHello where no listener waits for one.
func (d *decoder) validateHellos(all *draft, clusters map[string]*clusterDraft) {
	read := make(map[string]bool) // clusters that listeners with a ClientHello use
	for i := range all.listeners {
		l := &all.listeners[i]
		if l.Protocol != "tcp" {
			continue
		}
		needed := l.NeedsHello()
		for _, name := range l.Clusters() {
			read[name] = true
			needed = needed || clusters[name] != nil && clusters[name].HashesSNI()
		}
		if n := l.node.Get("preread_timeout"); n != nil && !needed {
			d.warn(n, "preread_timeout has no effect without sni or alpn in a route or hash_key = \"sni\"")
		}
	}
	for i := range all.clusters {
		if c := &all.clusters[i]; clusters[c.Name] == c && c.HashesSNI() && !read[c.Name] {
			d.warn(c.node.Get("hash_key"), "no tcp listener uses cluster %s: every client is balanced by wrr", c.Name)
		}
	}
}
