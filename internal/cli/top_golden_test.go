// The screens of weir top as files.

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/status"
)

// morning is when the process of the golden screens has started.
var morning = time.Date(2030, 1, 2, 8, 0, 0, 0, time.UTC)

// estate returns the status of a weir with 200 servers in 4 clusters, some of them down, after seconds.
func estate(seconds int) *status.Document { return estateOf(seconds, 50) }

// estateOf is estate with each servers in each cluster.
func estateOf(seconds, each int) *status.Document {
	d := &status.Document{
		Version: "1.2.3 go1.26", PID: 1, StartedAt: morning, UptimeSeconds: float64(seconds), MaxSessions: 10_000, Node: status.Node{State: status.NodeReady},
		Fleet: &status.FleetLink{Node: "edge-1", Connected: true},
	}
	for c, name := range []string{"orders", "payments-eu-west", "redis-sessions", "search"} {
		cluster := status.Cluster{Name: name, Level: "dc1", Levels: []status.Level{{Name: "dc1", InUse: true, MinUp: 1}, {Name: "dc2", MinUp: 1}}}
		var total status.Listener
		for i := range each {
			n := uint64(seconds * (i%7 + c))
			s := status.Server{
				Name: fmt.Sprintf("app-%02d.prod.example.net", i), Address: fmt.Sprintf("10.%d.0.%d:8443", c, i+1), Origin: status.OriginFile,
				State: "up", Since: morning, Weight: 10, EffectiveWeight: 10, Sessions: i%7 + c + seconds/5%(i%4+1),
				SessionsTotal: n, BytesUp: 300 * n, BytesDown: 70_000 * n, Dials: n, ConnectMS: 0.8,
			}
			checked := morning.Add(time.Duration(seconds)*time.Second - 1200*time.Millisecond)
			s.SessionsPeak, s.LastCheck = s.Sessions+3, &status.LastCheck{Check: "http", At: checked, DurationMS: 4.2, Passed: true}
			check := status.Layer{Layer: "checks", By: "http", Says: "up", At: &checked}
			if i%20 == 1 && c < 3 {
				s.State, s.Sessions, s.Since = "down", 0, morning.Add(90*time.Second)
				s.SessionsTotal, s.BytesUp, s.BytesDown, s.Dials, s.DialFailures = 0, 0, 0, uint64(seconds), uint64(seconds)
				s.Reason = fmt.Sprintf("connect to %s: %s", s.Address, []string{"connection refused", "timeout after 1s", "no route to host"}[i/20%3])
				s.LastCheck.Passed, s.LastCheck.DurationMS, s.CheckFailures = false, 1000, uint64(seconds/2)
				check.Says, check.Reason, check.Decides = "down", s.Reason, true
			}
			s.Layers = []status.Layer{{Layer: "configuration", By: "/etc/weir/weir.toml", Says: "ready", Decides: !check.Decides}, check, {Layer: "passive", By: "sessions", Says: "up"}}
			level := &cluster.Levels[i*10/each/8]
			level.Servers = append(level.Servers, s)
			if s.State == "up" {
				level.Eligible++
			}
			total.Sessions += s.Sessions
			total.SessionsTotal += s.SessionsTotal
			total.BytesUp += s.BytesUp
			total.BytesDown += s.BytesDown
		}
		total.Name, total.Address, total.Protocol, total.Cluster = name, fmt.Sprintf("10.9.0.1:%d", 8000+c), "tcp", name
		cluster.Sessions = total.Sessions
		d.Sessions += total.Sessions
		d.Listeners = append(d.Listeners, total)
		d.Clusters = append(d.Clusters, cluster)
	}
	d.FindProblems()
	return d
}

// fleetOf returns a fleet that a node knows: itself, and nodes that differ from it.
func fleetOf(node, version string) *status.Fleet {
	at := morning.Add(298 * time.Second)
	return &status.Fleet{
		FleetLink: status.FleetLink{Node: node, Prefix: "/weir/edge", Connected: true, Nodes: 4},
		Members: []status.FleetNode{
			{Name: node, Self: true, Version: version, Config: "3f9c1a20", UptimeSeconds: 300, At: at, Sessions: 1432, State: "ready", ProblemCount: 2,
				Problems: []string{"3 of 50 servers down", "search: level dc1 is not in use"}},
			{Name: "edge-2", Version: version, Config: "3f9c1a20", UptimeSeconds: 86_500, At: at, Sessions: 1405, State: "drain", StateReason: "new kernel",
				Problems: []string{}, API: []string{"0.0.0.0:9280", "10.0.0.2:9280"}},
			{Name: "edge-3", Version: "1.2.2 go1.26", Config: "77b0e9d4", UptimeSeconds: 700_000, At: at, Sessions: 1388, State: "ready", Problems: []string{}},
		},
		Disagreements: []status.Disagreement{
			{Cluster: "orders", Server: "app-21.prod.example.net", States: map[string]string{node: "down", "edge-2": "up", "edge-3": "up"}},
			{Cluster: "search", Server: "app-07.prod.example.net", States: map[string]string{node: "up", "edge-2": "up", "edge-3": "failing"}},
		},
	}
}

// estateScreen returns the screen after five minutes.
func estateScreen() *screen {
	s := newScreen(false)
	for seconds := 0; seconds <= 300; seconds += 5 {
		s.clock = func() time.Time { return morning.Add(time.Duration(seconds) * time.Second) }
		s.show(estate(seconds))
	}
	return s
}

// The screens of the list, its filter, one server, the problems, the help and the fleet at four sizes. Run with -update after a change.
func TestTopScreens(t *testing.T) {
	self := fleetOf("edge-2", "1.2.3 go1.26")
	self.Members[0].State, self.Members[0].StateReason, self.Members[0].Sessions = "drain", "new kernel", 12
	self.Members[0].Problems, self.Members[0].ProblemCount = []string{"node drained by ada"}, 1
	for name, keys := range map[string][]string{
		"servers": nil, "sorted": {"s", "s", "s", "s"}, "filter": {"/", "o", "r", "d", " ", "d", "o", "w", "n"}, "not-up": {"b", "down"}, "maint": {"down", "m"},
		"server": {"b", "down", "enter"}, "problems": {"p"}, "help": {"?"}, "fleet": {"f"}, "nothing": {"/", "x", "x", "x", "enter"},
	} {
		s := estateScreen()
		for _, key := range keys {
			s.press(key)
		}
		switch name {
		case "server":
			s.showSessions(s.selected, []status.Session{
				{ID: 4711, Client: "192.0.2.17:51402", Phase: "relay", AgeSeconds: 12.4, BytesUp: 3100, BytesDown: 1_200_000},
				{ID: 4720, Client: "[2001:db8::17]:51402", Phase: "relay", AgeSeconds: 4000, BytesUp: 310_000, BytesDown: 7_200_000_000},
			}, nil)
		case "fleet":
			s.showFleet(fleetOf("edge-1", "1.2.3 go1.26"), nil, []nodeAnswer{{node: "edge-2", address: "10.0.0.2:9280", fleet: self},
				{node: "edge-3", address: "10.0.0.3:9280", err: "cannot reach weir at 10.0.0.3:9280: connection refused"}})
		}
		for _, size := range [][2]int{{40, 12}, {80, 24}, {120, 40}, {200, 50}} {
			got := strings.Join(s.draw(size[0], size[1]), "\n") + "\n"
			for i, line := range strings.Split(stripReverse(got), "\n") {
				require.LessOrEqual(t, len([]rune(stripReverse(line))), size[0], "%s, line %d", name, i)
			}
			require.Equal(t, size[1], strings.Count(got, "\n"))
			file := filepath.Join("testdata", "top", fmt.Sprintf("%s-%dx%d.txt", name, size[0], size[1]))
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), got, file)
		}
	}
}
