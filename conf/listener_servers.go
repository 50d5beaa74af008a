package conf

import (
	"errors"
	"fmt"
	"slices"
)

// Rules about a listener and the servers of its cluster. They hold for files and for runtime changes.

// serverError is an error about a server that a listener uses.
type serverError struct {
	listener, cluster, level, server int    // indexes
	key                              string // of the server
	listenerKey                      string // of the listener
	text, rest                       string // the message; a file's has the line of the listener between the two
}

// pairBudget limits the pairs of listeners and servers that are looked at, and so the time that a text with many of both takes. A
// thousand listeners with a cluster of ten thousand servers need less.
type pairBudget struct{ left int }

const maxPairs = 1 << 24

func newPairBudget() *pairBudget { return &pairBudget{maxPairs} }

// take reports whether n more pairs may be looked at.
func (b *pairBudget) take(n int) bool {
	b.left -= n
	return b.left >= 0
}

// errTooManyPairs is the error of a configuration whose listeners and servers were not all looked at.
var errTooManyPairs = fmt.Errorf("too many listeners with too many servers: want at most %d pairs", maxPairs)

// findServerErrors applies all rules, until there are more than maxErrors errors.
func findServerErrors(listeners []Listener, clusters []Cluster) ([]serverError, error) {
	pairs := newPairBudget()
	found := slices.Concat(findLoops(listeners, clusters, pairs), findUnusable(listeners, clusters, pairs))
	if pairs.left < 0 {
		return found, errTooManyPairs
	}
	return found, nil
}

// findUnusable finds servers that a listener cannot use.
func findUnusable(listeners []Listener, clusters []Cluster, pairs *pairBudget) (found []serverError) {
	index := make(map[string]int, len(clusters)) // of the first cluster with a name
	for j := range clusters {
		if _, known := index[clusters[j].Name]; !known {
			index[clusters[j].Name] = j
		}
	}
	for i := range listeners {
		l := &listeners[i]
		for _, name := range l.Clusters() {
			if j, known := index[name]; known && len(found) <= maxErrors {
				found = append(found, l.findUnusable(i, j, &clusters[j], pairs)...)
			}
		}
	}
	return found
}

// findUnusable finds servers of a cluster that the listener cannot use. i and j are the indexes of the two.
func (l *Listener) findUnusable(i, j int, c *Cluster, pairs *pairBudget) (found []serverError) {
	udp, portless := l.Protocol == "udp", !l.AcceptProxy && slices.ContainsFunc(l.Addresses, func(a Address) bool { return a.Path != "" })
	if !udp && !portless {
		return nil
	}
	for k, level := range c.Levels {
		if !pairs.take(l.references()+len(level.Servers)) || len(found) > maxErrors {
			return found
		}
		if !l.usesLevel(c.Name, k) {
			continue
		}
		for n, s := range level.Servers {
			e := serverError{listener: i, cluster: j, level: k, server: n, listenerKey: "cluster"}
			if udp && s.SendProxy == "v1" {
				e.key, e.text = "send_proxy", fmt.Sprintf("PROXY v1 is TCP only; use v2: cluster %s serves the udp listener %s", c.Name, l.Name)
				found = append(found, e)
			}
			if portless && s.Address.SamePort {
				e.key, e.rest = "address", " connect to none"
				e.text = fmt.Sprintf("cluster %s: server %s has port = \"same\", and clients of the unix socket of listener %s", c.Name, s.Name, l.Name)
				found = append(found, e)
			}
			if udp && s.Address.Path != "" {
				e.key, e.rest = "address", " cannot reach"
				e.text = fmt.Sprintf("cluster %s: server %s is a unix socket, which the udp listener %s", c.Name, s.Name, l.Name)
				found = append(found, e)
			}
		}
	}
	return found
}

// ValidateServers returns an error if a server points back to the listener that uses it, if a listener cannot use it, or if a
// check of it has no port. Load has validated a file; this is for a configuration with runtime changes.
func (c *Config) ValidateServers() error {
	found, err := findServerErrors(c.Listeners, c.Clusters)
	switch {
	case len(found) == 0 && err == nil:
		return c.validateSamePorts()
	case len(found) == 0:
		return err
	}
	e := found[0]
	text := e.text + e.rest
	if e.key == "send_proxy" {
		text = fmt.Sprintf("server %s: %s", c.Clusters[e.cluster].Levels[e.level].Servers[e.server].Name, text)
	}
	return errors.New(text)
}

// validateServers reports the errors at the keys of the servers. A key that servers inherit is reported at the cluster.
func (d *decoder) validateServers(all *draft) {
	c := all.config()
	found, err := findServerErrors(c.Listeners, c.Clusters)
	if err != nil {
		d.errorAt(all.roots[0], "%s", err)
	}
	for _, e := range found {
		if d.tooManyErrors() {
			return
		}
		l, c := &all.listeners[e.listener], &all.clusters[e.cluster]
		s := &c.levels[e.level].servers[e.server]
		at := s.keyOrServer("address")
		if e.key == "send_proxy" {
			if at = s.givenAt("send_proxy"); at == nil {
				at = c.node.Get("send_proxy")
			}
		}
		of := l.node.Get(e.listenerKey)
		if e.listenerKey == "cluster" {
			of = l.clusterReference(c.Name)
		}
		d.errorAt(at, "%s (%s)%s", e.text, line(of, at), e.rest)
	}
}
