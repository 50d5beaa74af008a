package admin

import (
	"context"
	"sync"
	"time"

	"weir/internal/status"
)

// fake is a Weir of one cluster c with one server a. It notes what it was asked for.
type fake struct {
	mu     sync.Mutex
	asked  []string
	events []status.Event
	wake   chan struct{}
	err    error // the answer to every change
	ready  bool
	cut    chan int // what Stop returns, when it does
}

func newFake() *fake { return &fake{ready: true, wake: make(chan struct{}), cut: make(chan int, 1)} }

func (f *fake) note(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, what)
	return f.err
}

func (f *fake) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) == 0 {
		return ""
	}
	return f.asked[len(f.asked)-1]
}

func (f *fake) put(kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, status.Event{ID: uint64(len(f.events) + 1), Time: time.Now(), Event: kind, Cluster: "c"})
	close(f.wake)
	f.wake = make(chan struct{})
}

func (f *fake) Status() status.Document {
	server := status.Server{Name: "a", Address: "10.0.0.1:1", State: "up", Layers: []status.Layer{}}
	return status.Document{Version: "test", Clusters: []status.Cluster{{
		Name: "c", Level: "one", Levels: []status.Level{{Name: "one", InUse: true, Servers: []status.Server{server}}},
	}}, Listeners: []status.Listener{{Name: "l", Address: "10.0.0.1:2", Protocol: "tcp", Cluster: "c"}}, Hooks: []status.Hook{{Name: "h", Kind: "exec"}}}
}

func (f *fake) Metrics() status.Metrics {
	h := status.Histogram{Count: 1, Sum: 0.1, Buckets: map[float64]uint64{0.05: 0, 0.5: 1}}
	return status.Metrics{
		Version: "test", DialDurations: h, Loops: []status.LoopMetrics{{}}, Hooks: []status.Hook{{Name: "h", Kind: "exec"}},
		Listeners: []status.ListenerMetrics{{
			Name: "l", Durations: h, Ended: []status.Ended{{Phase: "relay", Reason: "client_closed", Count: 2}},
			Dropped: []status.ReasonCount{{Reason: "no_server", Count: 3}}, Rejected: []status.ReasonCount{{Reason: "denied", Count: 4}},
		}},
		Clusters: []status.ClusterMetrics{{
			Name: "c", Level: "one", Servers: []status.ServerMetrics{{Name: "a", State: "up"}},
			Levels: []status.LevelMetrics{{Name: "one", InUse: true, Eligible: 1, Weights: []status.ServerWeight{{Server: "a", Weight: 1, Effective: 1}}}},
		}},
		Checks: []status.CheckMetrics{{Cluster: "c", Server: "a", Check: "tcp", Passed: 3, Durations: h}},
	}
}

func (f *fake) Ready() bool { return f.ready }

func (f *fake) ListSessions(filter status.SessionFilter) []status.Session {
	f.note("sessions " + filter.Cluster)
	return []status.Session{{ID: 7, Cluster: "c"}}
}

func (f *fake) Events(ctx context.Context, after uint64, wait bool) ([]status.Event, uint64, error) {
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

func (f *fake) Explain(cluster, server string) (status.Explanation, error) {
	if cluster != "c" {
		return status.Explanation{}, &status.RequestError{Kind: status.NotFound, Field: "cluster", Text: "no cluster " + cluster}
	}
	return status.Explanation{Cluster: cluster, Server: status.Server{Name: server}}, nil
}

func (f *fake) Override(cluster, server string, text []byte) error {
	return f.note("override " + cluster + " " + server + " " + string(text))
}

func (f *fake) Feedback(cluster, server string, text []byte) error {
	return f.note("feedback " + cluster + " " + server + " " + string(text))
}

func (f *fake) CutServer(cluster, server string) (int, error) {
	return 3, f.note("cut " + cluster + " " + server)
}

func (f *fake) CutSession(id uint64) error {
	if id != 7 {
		return &status.RequestError{Kind: status.NotFound, Field: "id", Text: "no such session"}
	}
	return f.note("cut 7")
}

func (f *fake) AddServer(cluster string, text []byte) (string, error) {
	return "new", f.note("add " + cluster + " " + string(text))
}

func (f *fake) RemoveServer(cluster, server string) error {
	return f.note("remove " + cluster + " " + server)
}

func (f *fake) PutCluster(name string, text []byte) (bool, error) {
	return name == "c", f.note("put " + name + " " + string(text))
}

func (f *fake) RemoveCluster(name string) error { return f.note("remove " + name) }

func (f *fake) Failback(name string) error { return f.note("failback " + name) }

func (f *fake) Reload(context.Context) error { return f.note("reload") }

func (f *fake) Plan(_ string, text []byte) (status.Plan, error) {
	if text == nil {
		return status.Plan{Steps: []status.PlanStep{}}, f.note("plan of the file")
	}
	return status.Plan{Steps: []status.PlanStep{}}, f.note("plan " + string(text))
}

func (f *fake) Upgrade(ctx context.Context) (status.Upgrade, error) {
	return status.Upgrade{PID: 2, Previous: 1}, f.note("upgrade")
}

func (f *fake) Stop(ctx context.Context, now bool) (int, error) {
	select {
	case n := <-f.cut:
		return n, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
