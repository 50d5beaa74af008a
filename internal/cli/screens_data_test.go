package cli

// What the screens show: clusters with long names, and 200 servers of which 20 are down.

import (
	"fmt"
	"time"

	"weir/internal/status"
)

// screenNow is the time of the screens. It is so old that times are shown with their date.
var screenNow = time.Date(2026, 3, 2, 10, 20, 30, 0, time.UTC)

func before(d time.Duration) *time.Time { return new(screenNow.Add(-d)) }

const longCluster = "a-very-long-cluster-name-for-the-checkout-database-in-production"

func longServer(n int) string { return fmt.Sprintf("checkout-db-%04d.dc1.prod.example.internal", n) }

func healthyDocument() status.Document {
	doc := status.Document{
		Version: "1.2.3", PID: 4711, UptimeSeconds: 86400 * 3.5, Sessions: 118, MaxSessions: 10000,
		Config: status.Config{File: "/etc/weir/weir.toml", LoadedAt: *before(84 * time.Hour)},
		Listeners: []status.Listener{
			{Name: "dns", Address: "192.0.2.1:53", Protocol: "udp", Cluster: "dns", Sessions: 18, SessionsTotal: 123456, BytesUp: 7_400_000, BytesDown: 19_000_000},
		},
		Clusters: []status.Cluster{{
			Name: "dns", Balance: "rr", Level: "1",
			Levels: []status.Level{{Name: "1", InUse: true, MinUp: 1, Eligible: 1, Servers: []status.Server{
				{Name: "10.0.0.53:53", Address: "10.0.0.53:53", State: "up", Weight: 1, Sessions: 18, Since: *before(84 * time.Hour)},
			}}},
		}},
	}
	doc.FindProblems()
	return doc
}

func manyServers() status.Document {
	doc := healthyDocument()
	doc.Listeners = append([]status.Listener{
		{Name: "checkout-database-for-the-web-shop", Address: "192.0.2.1:6379", Protocol: "tcp", Cluster: longCluster, Sessions: 60, SessionsTotal: 9876543, BytesUp: 1_200_000_000, BytesDown: 34_000_000_000},
		{Name: "web", Address: "192.0.2.1:443", Protocol: "tcp", Cluster: "web", Sessions: 20, SessionsTotal: 4000, BytesUp: 9000, BytesDown: 120_000},
		{Name: "web", Address: "[2001:db8::1]:443", Protocol: "tcp", Cluster: "web", Sessions: 20, SessionsTotal: 4000, BytesUp: 9000, BytesDown: 120_000},
	}, doc.Listeners...)
	doc.Clusters = append([]status.Cluster{longOne(), webOne()}, doc.Clusters...)
	doc.FindProblems()
	return doc
}

func longOne() status.Cluster {
	server := func(n int, state, reason string) status.Server {
		return status.Server{
			Name: longServer(n), Address: fmt.Sprintf("10.1.0.%d:6379", n), State: state, Reason: reason, Since: *before(3*time.Hour + 2*time.Minute),
			Weight: 5, EffectiveWeight: 5, MaxSessions: 100, Sessions: 12 * (3 - n), SessionsPeak: 99, SessionsTotal: 123_456, Dials: 123_470, DialFailures: 14, Retries: 9,
			CheckFailures: uint64(3 * n), LastCheck: &status.LastCheck{Check: "redis", At: *before(1200 * time.Millisecond), DurationMS: 0.4},
			Layers: []status.Layer{
				{Layer: "override", By: "operator (user alice)", Weight: new(5), Reason: "slower disks since the move to the new rack", At: before(50 * time.Hour)},
				{Layer: "configuration", By: "/etc/weir/weir.toml", Says: "ready", Weight: new(1)},
				{Layer: "checks", By: "redis", Says: state, Reason: reason, At: before(3 * time.Hour), Decides: state != "up"},
				{Layer: "passive", By: "sessions", Says: "up"},
			},
		}
	}
	return status.Cluster{
		Name: longCluster, Balance: "least_sessions", Level: "datacenter-one-primary", Sessions: 60, Queue: 4,
		Levels: []status.Level{
			{Name: "datacenter-one-primary", InUse: true, MinUp: 1, Eligible: 2, Servers: []status.Server{
				server(1, "up", ""), server(2, "up", ""), server(3, "down", "redis: connect to 10.1.0.3:6379: connection refused"),
			}},
			{Name: "datacenter-two-standby", MinUp: 1, Eligible: 1, Servers: []status.Server{{Name: "standby", Address: "10.2.0.1:6379", State: "up", Weight: 1, Since: *before(84 * time.Hour)}}},
		},
	}
}

func webOne() status.Cluster {
	level := status.Level{Name: "dc1", InUse: true, MinUp: 1, Eligible: 180}
	for i := range 200 {
		at := fmt.Sprintf("10.3.%d.%d:8443", i/100, i%100+1)
		s := status.Server{Name: at, Address: at, State: "up", Weight: 1, Sessions: 1, Since: *before(84 * time.Hour)}
		if i%10 == 3 {
			s.State, s.Reason, s.Sessions, s.Since = "down", "connect to "+at+": connection refused", 0, *before(20 * time.Minute)
		}
		level.Servers = append(level.Servers, s)
	}
	return status.Cluster{Name: "web", Balance: "wrr", Level: "dc1", Sessions: 180, Levels: []status.Level{level}}
}

func someSessions(c *status.Cluster, routed bool) []status.Session {
	list := []status.Session{
		{ID: 7, Listener: "checkout", Client: "198.51.100.77:61234", Cluster: c.Name, Level: "1", Server: longServer(3), Phase: "relay", BytesUp: 12_345, BytesDown: 9_876_543, AgeSeconds: 3700},
		{ID: 123456, Listener: "checkout", Client: "[2001:db8:1:2:3:4:5:6]:61234", Cluster: "web", Level: "dc1", Server: "10.3.0.1:8443", Phase: "relay", BytesUp: 1, BytesDown: 2, AgeSeconds: 12},
		{ID: 123457, Listener: "checkout", Client: "unix", Cluster: c.Name, Phase: "queue", AgeSeconds: 0.3},
	}
	if routed {
		list[0].SNI, list[0].Route = "checkout.internal.shop.example.com", "checkout-customers"
	}
	return list
}

func someEvents(c *status.Cluster) []status.Event {
	return []status.Event{
		{Time: *before(time.Hour), Event: "server_down", Cluster: c.Name, Level: "datacenter-one-primary", Server: longServer(3), From: "up", To: "down", Layer: "checks", Reason: "redis: connect to 10.1.0.3:6379: connection refused"},
		{Time: *before(time.Hour), Event: "level_change", Cluster: c.Name, From: "datacenter-one-primary", To: "datacenter-two-standby"},
		{Time: *before(time.Minute), Event: "session_refused", Listener: "web", Count: 311, Reason: "max_sessions"},
		{Time: *before(time.Minute), Event: "server_up", Cluster: "web", Server: "10.3.0.4:8443", From: "down", To: "up", Layer: "checks"},
		{Time: *before(time.Second), Event: "reload", Reason: "SIGHUP"},
	}
}

func someRebalance(c *status.Cluster) status.Rebalance {
	r := status.Rebalance{Cluster: c.Name, Surplus: 12}
	for n := range 3 {
		r.Servers = append(r.Servers, status.ServerShare{Level: "datacenter-one-primary", Server: longServer(n + 1), Sessions: 24 - 12*n, Share: 12, Surplus: max(0, 12-12*n)})
	}
	return r
}

func someDiscovery(c *status.Cluster) status.DiscoveryReport {
	return status.DiscoveryReport{Cluster: c.Name, Providers: []status.ProviderReport{{
		Level: "datacenter-one-primary", Discovery: status.Discovery{Source: "consul checkout-database", Servers: 2, AnsweredAt: before(time.Minute), AgeSeconds: 60, BadEntries: 1,
			Bad: []status.BadEntry{{Entry: "10.1.0.5", Reason: "want an address with a port"}}},
		Entries: []status.DiscoveredEntry{
			{Address: "10.1.0.3:6379", Server: longServer(3), Options: map[string]string{"weight": "5"}, Labels: map[string]string{"rack": "r17", "zone": "eu-central-1a"}, Reason: "passing"},
			{Address: "10.1.0.4:6379", Server: longServer(4), Labels: map[string]string{"rack": "r18"}},
		},
	}}}
}

func someFleet(c *status.Cluster) status.Fleet {
	return status.Fleet{
		FleetLink: status.FleetLink{Node: "edge-1", Prefix: "/weir/edge", Connected: true},
		Members: []status.FleetNode{
			{Name: "edge-1", Self: true, Version: "1.2.3", Config: "r12", UptimeSeconds: 4000, Sessions: 100},
			{Name: "edge-2.frankfurt.example.internal", Version: "1.2.3", Config: "r12", UptimeSeconds: 7200, Sessions: 90, ProblemCount: 1, Problems: []string{"WARNING web: 20 of 200 servers down"}},
		},
		Overrides:     []status.FleetOverride{{Cluster: c.Name, Server: longServer(3), Text: "drain", Node: "edge-2", By: "alice", At: before(time.Hour), Reason: "new kernel", Pending: true}},
		Disagreements: []status.Disagreement{{Cluster: c.Name, Server: longServer(3), States: map[string]string{"edge-1": "down", "edge-2": "up"}}},
	}
}
