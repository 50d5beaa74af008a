package conf

import (
	"cmp"
	"iter"
	"strconv"
)

// Cluster returns the cluster with a name, or nil.
func (c *Config) Cluster(name string) *Cluster {
	for i := range c.Clusters {
		if c.Clusters[i].Name == name {
			return &c.Clusters[i]
		}
	}
	return nil
}

// Servers iterates over the servers of all levels of all clusters. A server in several levels appears once for each.
func (c *Config) Servers() iter.Seq2[*Cluster, *Server] {
	return func(yield func(*Cluster, *Server) bool) {
		for i := range c.Clusters {
			for s := range c.Clusters[i].Servers() {
				if !yield(&c.Clusters[i], s) {
					return
				}
			}
		}
	}
}

// Servers iterates over the servers of all levels. A server in several levels appears once for each.
func (c *Cluster) Servers() iter.Seq[*Server] {
	return func(yield func(*Server) bool) {
		for i := range c.Levels {
			for j := range c.Levels[i].Servers {
				if !yield(&c.Levels[i].Servers[j]) {
					return
				}
			}
		}
	}
}

// Server returns the first server with a name, or nil.
func (c *Cluster) Server(name string) *Server {
	for s := range c.Servers() {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// LevelName returns the name of level i or, if it has none, its number counted from 1.
func (c *Cluster) LevelName(i int) string {
	return cmp.Or(c.Levels[i].Name, strconv.Itoa(i+1))
}

// Level returns the index of the level that LevelName names.
func (c *Cluster) Level(name string) (int, bool) {
	for i := range c.Levels {
		if c.LevelName(i) == name {
			return i, true
		}
	}
	return 0, false
}
