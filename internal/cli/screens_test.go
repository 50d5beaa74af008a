package cli

import (
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"weir/internal/status"
)

var update = flag.Bool("update", false, "write the golden files of screens")

func TestMain(m *testing.M) {
	time.Local = time.UTC // golden files contain times
	os.Exit(m.Run())
}

// screenAt is a terminal of a width at a time.
type screenAt struct {
	io.Writer
	width int
	now   time.Time
}

func (s screenAt) Width() int     { return s.width }
func (s screenAt) Now() time.Time { return s.now }

// Every list at the usual widths, and as programs read it: see testdata/screens. Names are whole at every width.
func TestScreens(t *testing.T) {
	doc := manyServers()
	long := &doc.Clusters[0]
	for name, show := range map[string]func(io.Writer){
		"status":          func(w io.Writer) { showStatus(w, doc) },
		"status-cluster":  func(w io.Writer) { showOneCluster(w, *long) },
		"status-healthy":  func(w io.Writer) { showStatus(w, healthyDocument()) },
		"sessions":        func(w io.Writer) { showSessions(w, someSessions(long, false)) },
		"sessions-routed": func(w io.Writer) { showSessions(w, someSessions(long, true)) },
		"events": func(w io.Writer) {
			for _, ev := range someEvents(long) {
				require.NoError(t, showEvent(w, ev, ""))
			}
		},
		"explain": func(w io.Writer) {
			showExplanation(w, status.Explanation{Cluster: long.Name, Levels: []string{long.Levels[0].Name}, Server: long.Levels[0].Servers[2]})
		},
		"rebalance": func(w io.Writer) { showRebalance(w, someRebalance(long)) },
		"discover":  func(w io.Writer) { showDiscoveries(w, someDiscovery(long)) },
		"fleet":     func(w io.Writer) { showFleet(w, someFleet(long)) },
	} {
		for _, width := range []int{80, 120, 200, math.MaxInt} {
			label := fmt.Sprint(width)
			if width == math.MaxInt {
				label = "pipe"
			}
			t.Run(name+"-"+label, func(t *testing.T) {
				var out strings.Builder
				show(screenAt{&out, width, screenNow})
				file := filepath.Join("testdata", "screens", name+"-"+label+".txt")
				if *update {
					require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o777))
					require.NoError(t, os.WriteFile(file, []byte(out.String()), 0o666))
				}
				golden, err := os.ReadFile(file)
				require.NoError(t, err, "go test ./internal/cli -run TestScreens -update")
				require.Equal(t, string(golden), out.String())
				for line := range strings.Lines(out.String()) {
					if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
						require.Regexp(t, `(\.internal|production):?\n$`, line, "only a name at the end of a line may be wider than the terminal")
					}
				}
				if name != "status-healthy" {
					require.Contains(t, out.String(), longServer(3), "the name of a server is never cut")
				}
				if width == math.MaxInt {
					require.NotContains(t, out.String(), "…")
				}
			})
		}
	}
}

// What must be seen in 80 columns: how many servers are down, and from which state to which a server went.
func TestNarrowScreensKeepWhatMatters(t *testing.T) {
	doc := manyServers()
	var out strings.Builder
	w := screenAt{&out, 80, screenNow}
	showStatus(w, doc)
	require.Contains(t, out.String(), "WARNING  web: 20 of 200 servers down: ")
	require.Contains(t, out.String(), "\nweb: 20 of 200 servers down, wrr, level dc1 in use\n")
	require.NotContains(t, out.String(), " UP ", "servers are up, bytes are sent")
	for _, width := range []int{40, 60, 80, 120} {
		out.Reset()
		require.NoError(t, showEvent(screenAt{&out, width, screenNow}, someEvents(&doc.Clusters[0])[0], ""))
		require.Contains(t, out.String(), "up → down")
		require.Contains(t, out.String(), longServer(3))
	}
}

// Ten thousand servers fill a few screens, not hundreds.
func TestStatusOfManyServersStaysShort(t *testing.T) {
	doc := healthyDocument()
	doc.Clusters = nil
	for c := range 100 {
		cluster := status.Cluster{Name: fmt.Sprintf("cluster-%d", c), Balance: "wrr", Level: "1"}
		level := status.Level{Name: "1", InUse: true}
		for s := range 100 {
			server := status.Server{Name: fmt.Sprintf("s%d", s), State: "up"}
			if c == 7 {
				server.State, server.Reason = "down", "connection refused"
			}
			level.Servers = append(level.Servers, server)
		}
		cluster.Levels = []status.Level{level}
		doc.Clusters = append(doc.Clusters, cluster)
	}
	doc.FindProblems()
	var out strings.Builder
	showStatus(screenAt{&out, 80, screenNow}, doc)
	lines := strings.Count(out.String(), "\n")
	require.Less(t, lines, 200, out.String())
	require.Contains(t, out.String(), "cluster-7: 100 of 100 servers down")
	require.Contains(t, out.String(), "(60 more)")
	require.Contains(t, out.String(), "\ncluster-99  100 servers up")
	out.Reset()
	showDocument(&out, doc, true)
	require.Greater(t, strings.Count(out.String(), "\n"), 10_000, "--all shows all")
}

// A state that many servers share is counted once for each server.
func TestServersText(t *testing.T) {
	for want, states := range map[string][][]string{
		"no servers":                             {{}},
		"1 server up":                            {{"up"}},
		"3 servers up":                           {{"up", "up"}, {"up"}},
		"1 of 3 servers down":                    {{"up", "down"}, {"up"}},
		"1 of 3 servers down, 1 drain":           {{"up", "drain"}, {"down"}},
		"2 of 3 servers standby":                 {{"up", "standby", "standby"}},
		"1 of 1 server maint":                    {{"maint"}},
		"1 of 4 servers failing, 1 unstable":     {{"failing", "unstable"}, {"up", "up"}},
		"1 of 3 servers unresolved, 1 probation": {{"unresolved", "probation", "up"}},
	} {
		var c status.Cluster
		for i, level := range states {
			var l status.Level
			for j, state := range level {
				l.Servers = append(l.Servers, status.Server{Name: fmt.Sprint(i, j), State: state})
			}
			c.Levels = append(c.Levels, l)
		}
		c.Levels = append(c.Levels, c.Levels[0]) // the same servers in another level
		require.Equal(t, want, serversText(&c))
	}
}
