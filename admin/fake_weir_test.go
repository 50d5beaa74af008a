package admin

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
	"weir/l4"

	"weir/conf"
	"weir/internal/status"
)

// fakeWeir is a Weir with one cluster c with one server a. It records calls.
type fakeWeir struct {
	mu     sync.Mutex
	calls  []string
	events []status.Event
	wake   chan struct{}
	err    error // the answer to every change
	ready  bool
	by     string   // who asked for the last override
	cut    chan int // what Stop returns, when it does
}

func newFakeWeir() *fakeWeir {
	return &fakeWeir{ready: true, wake: make(chan struct{}), cut: make(chan int, 1)}
}

func (f *fakeWeir) record(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, what)
	return f.err
}

func (f *fakeWeir) setBy(by string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.by = by
}

func (f *fakeWeir) lastCall() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.calls) == 0 {
		return ""
	}
	return f.calls[len(f.calls)-1]
}

func (f *fakeWeir) addEvent(kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, status.Event{ID: uint64(len(f.events) + 1), Time: time.Now(), Event: kind, Cluster: "c"})
	close(f.wake)
	f.wake = make(chan struct{})
}

func (f *fakeWeir) APIClients() int { return maxClients }

// maxClients is how many clients an address has at most.
const maxClients = 64

func (f *fakeWeir) Status() status.Document {
	server := status.Server{Name: "a", Address: "10.0.0.1:1", State: "up", Layers: []status.Layer{}}
	return status.Document{Version: "test", Clusters: []status.Cluster{{
		Name: "c", Level: "one", Levels: []status.Level{{Name: "one", InUse: true, Servers: []status.Server{server}}},
	}}, Listeners: []status.Listener{{Name: "l", Address: "10.0.0.1:2", Protocol: "tcp", Cluster: "c"}}, Hooks: []status.Hook{{Name: "h", Kind: "exec"}}}
}

func (f *fakeWeir) History(cluster, server string, after time.Time) (status.History, error) {
	since := ""
	if !after.IsZero() {
		if since = time.Since(after).Round(time.Minute).String(); time.Since(after) > 24*time.Hour {
			since = "long ago"
		}
	}
	return status.History{Cluster: cluster, Server: server, StepSeconds: 10, Times: []time.Time{}}, f.record(fmt.Sprintf("history of %s/%s since %s", cluster, server, since))
}

func (f *fakeWeir) Metrics() status.Metrics {
	h := status.Histogram{Count: 1, Sum: 0.1, Buckets: map[float64]uint64{0.05: 0, 0.5: 1}}
	return status.Metrics{
		Version: "test", DialDurations: h, Loops: []status.LoopMetrics{{}}, Hooks: []status.Hook{{Name: "h", Kind: "exec"}},
		Listeners: []status.ListenerMetrics{{
			Name: "l", Routes: []status.Route{{Name: "default", SessionsTotal: 7}}, Durations: h, Ended: []status.Ended{{Phase: "relay", Reason: "client_closed", Count: 2}},
			Datagrams: &status.DatagramCounts{Up: 8, Down: 9},
			Dropped:   []status.ReasonCount{{Reason: "no_server", Count: 3}}, Rejected: []status.ReasonCount{{Reason: "denied", Count: 4}},
		}},
		Clusters: []status.ClusterMetrics{{
			Name: "c", Level: "one", Closing: 5, Closed: []status.ClosedCount{{Cause: "age", Kind: "quiet", Count: 6}}, Servers: []status.ServerMetrics{{Name: "a", State: "up"}},
			Levels: []status.LevelMetrics{{Name: "one", InUse: true, Eligible: 1, Weights: []status.ServerWeight{{Server: "a", Weight: 1, Effective: 1}}}},
		}},
		Checks: []status.CheckMetrics{{Cluster: "c", Server: "a", Check: "tcp", Passed: 3, Durations: h}},
	}
}

func (f *fakeWeir) CheckReady(cluster string) error {
	switch {
	case !f.ready:
		return &status.RequestError{Kind: status.Unavailable, Text: "weir is stopping"}
	case cluster != "" && cluster != "c":
		return &status.RequestError{Kind: status.NotFound, Field: "cluster", Text: "no cluster " + cluster}
	}
	return nil
}

func (f *fakeWeir) DrainNode(by string, text []byte) (status.Node, error) {
	f.setBy(by)
	return status.Node{State: status.NodeDrain, By: by}, f.record("drain node " + string(text))
}

func (f *fakeWeir) ReadyNode(by string, text []byte) (status.Node, error) {
	f.setBy(by)
	return status.Node{State: status.NodeReady, By: by}, f.record("ready node " + string(text))
}

func (f *fakeWeir) ListSessions(filter status.SessionFilter) []status.Session {
	f.record("sessions " + filter.Cluster)
	return []status.Session{{ID: 7, Cluster: "c"}}
}

func (f *fakeWeir) Events(ctx context.Context, after uint64, wait bool) ([]status.Event, uint64, error) {
	for {
		f.mu.Lock()
		wake, events := f.wake, f.events[min(int(after), len(f.events)):]
		f.mu.Unlock()
		if len(events) > 0 || !wait {
			return events, 0, nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

func (f *fakeWeir) Explain(cluster, server string) (status.Explanation, error) {
	if cluster != "c" {
		return status.Explanation{}, &status.RequestError{Kind: status.NotFound, Field: "cluster", Text: "no cluster " + cluster}
	}
	return status.Explanation{Cluster: cluster, Server: status.Server{Name: server}}, nil
}

func (f *fakeWeir) Override(by, cluster, server string, text []byte) error {
	f.setBy(by)
	return f.record("override " + cluster + " " + server + " " + string(text))
}

func (f *fakeWeir) Feedback(cluster, server string, text []byte) error {
	return f.record("feedback " + cluster + " " + server + " " + string(text))
}

func (f *fakeWeir) CutServer(cluster, server string) (int, error) {
	return 3, f.record("cut " + cluster + " " + server)
}

func (f *fakeWeir) CutSession(id uint64) error {
	if id != 7 {
		return &status.RequestError{Kind: status.NotFound, Field: "id", Text: "no such session"}
	}
	return f.record("cut 7")
}

func (f *fakeWeir) AddServer(change status.RuntimeChange, cluster string, text []byte) (string, error) {
	return "new", f.record(localWord(change) + "add " + cluster + " " + string(text))
}

func (f *fakeWeir) RemoveServer(change status.RuntimeChange, cluster, server string) error {
	return f.record(localWord(change) + "remove " + cluster + " " + server)
}

func (f *fakeWeir) RestoreServer(change status.RuntimeChange, cluster, server string) error {
	return f.record(localWord(change) + "restore " + cluster + " " + server)
}

func (f *fakeWeir) PutCluster(change status.RuntimeChange, name string, text []byte) (bool, error) {
	return name == "c", f.record(localWord(change) + "put " + name + " " + string(text))
}

func (f *fakeWeir) RemoveCluster(change status.RuntimeChange, name string) error {
	return f.record(localWord(change) + "remove " + name)
}

// localWord marks a change for this node only.
func localWord(change status.RuntimeChange) string {
	if change.Local {
		return "local "
	}
	return ""
}

func (f *fakeWeir) FollowFleet(by, cluster string) error { return f.record("follow " + cluster) }

func (f *fakeWeir) Failback(name string) error { return f.record("failback " + name) }

func (f *fakeWeir) Rebalance(name string, text []byte) (status.Rebalance, error) {
	return status.Rebalance{Cluster: name, DryRun: len(text) > 0, Surplus: 2, Servers: []status.ServerShare{{Level: "one", Server: "a", Sessions: 5, Share: 3, Surplus: 2}}},
		f.record("rebalance " + name + " " + string(text))
}

func (f *fakeWeir) Discoveries(cluster string) (status.DiscoveryReport, error) {
	return status.DiscoveryReport{Cluster: cluster, Providers: []status.ProviderReport{}}, f.record("discoveries of " + cluster)
}

func (f *fakeWeir) ResetTopology(by, cluster string) error {
	f.setBy(by)
	return f.record("reset topology " + cluster)
}

func (f *fakeWeir) Reload(context.Context) error { return f.record("reload") }

func (f *fakeWeir) Plan(_ string, text []byte, included []conf.SourceFile) (status.Plan, error) {
	for _, file := range included {
		text = append(text, " and "+file.Path+": "+file.Text...)
	}
	if text == nil {
		return status.Plan{Steps: []status.PlanStep{}}, f.record("plan of the file")
	}
	return status.Plan{Steps: []status.PlanStep{}}, f.record("plan " + string(text))
}

func (f *fakeWeir) SharedConfig() (status.SharedConfig, error) {
	return status.SharedConfig{Nodes: []status.SharedNode{}}, f.record("shared configuration")
}

func (f *fakeWeir) ApplyShared(_ context.Context, by, file string, text []byte, canaries int, pause time.Duration) (status.Rollout, error) {
	f.setBy(by)
	return status.Rollout{}, f.record(fmt.Sprintf("apply %s %s %d %s", file, text, canaries, pause))
}

func (f *fakeWeir) RollBackShared(_ context.Context, by string) (status.Rollout, error) {
	f.setBy(by)
	return status.Rollout{}, f.record("roll back")
}

func (f *fakeWeir) ClearShared(_ context.Context, by string) (status.Rollout, error) {
	f.setBy(by)
	return status.Rollout{}, f.record("clear")
}

func (f *fakeWeir) Upgrade(ctx context.Context) (status.Upgrade, error) {
	return status.Upgrade{PID: 2, Previous: 1}, f.record("upgrade")
}

func (f *fakeWeir) Stop(ctx context.Context, now bool) (int, error) {
	select {
	case n := <-f.cut:
		return n, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// unixSockets opens unix sockets as weir does.
var unixSockets = UnixSockets{
	Listen: func(path string, mode fs.FileMode) (*os.File, error) {
		return l4.ListenUnix(path, l4.UnixFile{Mode: mode, UID: -1, GID: -1})
	},
	Change: func(path string, mode fs.FileMode, uid, gid int) error {
		return l4.ChangeUnixFile(path, l4.UnixFile{Mode: mode, UID: uid, GID: gid})
	},
}

func (f *fakeWeir) Shared(cluster, server string) string { return "" }

func (f *fakeWeir) Fleet() (status.Fleet, error) { return status.Fleet{}, f.err }

func (f *fakeWeir) FleetForget(ctx context.Context, by, node string) error { return f.err }

func (f *fakeWeir) FleetReset(ctx context.Context, by string) error { return f.err }

func (f *fakeWeir) SetFleetNode(by, node, to string, text []byte) (string, error) { return "", f.err }
