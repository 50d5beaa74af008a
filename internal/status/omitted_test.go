package status

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOmitUpCountsServers(t *testing.T) {
	level := func(states ...string) Level {
		l := Level{}
		for _, s := range states {
			l.Servers = append(l.Servers, Server{State: s, Sessions: 2})
		}
		return l
	}
	doc := Document{Clusters: []Cluster{
		{Levels: []Level{level("up", "down", "up"), level("maint")}},
		{Levels: []Level{level("up", "down", "up")}},
	}}
	doc.OmitUp(3)
	large := doc.Clusters[0].Levels
	require.Equal(t, []Server{{State: "down", Sessions: 2}}, large[0].Servers)
	require.Equal(t, &Omitted{Servers: 2, Sessions: 4}, large[0].Omitted)
	require.Len(t, large[1].Servers, 1)
	require.Nil(t, large[1].Omitted, "none is up")
	require.Len(t, doc.Clusters[1].Levels[0].Servers, 3, "the cluster has no more than 3 servers")
	require.Nil(t, doc.Clusters[1].Levels[0].Omitted)
}
