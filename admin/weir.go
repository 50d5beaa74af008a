package admin

import (
	"context"

	"weir/internal/status"
)

// Weir is a running weir, as far as the API needs it. Its methods may be called from any goroutine. Errors that are the
// caller's fault are of type *status.RequestError. Texts are the bodies of requests: whoever applies them knows their rules.
type Weir interface {
	// Status is everything there is to see.
	Status() status.Document
	// Metrics returns the values of one scrape. It builds no Status.
	Metrics() status.Metrics
	// Ready tells whether clients are served.
	Ready() bool
	// ListSessions describes the sessions that a filter chooses.
	ListSessions(status.SessionFilter) []status.Session
	// Events returns the events after the one with an ID, and how many of them are not remembered. With wait it returns
	// only when there is one, or with ctx's error.
	Events(ctx context.Context, after uint64, wait bool) (events []status.Event, missed uint64, err error)
	// Explain tells how the state of a server came about.
	Explain(cluster, server string) (status.Explanation, error)

	// Override changes what an operator says about a server.
	Override(cluster, server string, text []byte) error
	// Feedback counts a failure or a success of a server.
	Feedback(cluster, server string, text []byte) error
	// CutServer ends the sessions of a server and returns how many there were.
	CutServer(cluster, server string) (int, error)
	// CutSession ends one session.
	CutSession(id uint64) error

	// AddServer adds a server to a cluster and returns its name.
	AddServer(cluster string, text []byte) (name string, err error)
	// RemoveServer takes a server out of a cluster.
	RemoveServer(cluster, server string) error
	// PutCluster makes or replaces a cluster, and reports whether it is new.
	PutCluster(name string, text []byte) (created bool, err error)
	// RemoveCluster takes away a cluster that no listener uses.
	RemoveCluster(name string) error
	// Failback lets a better level of a cluster take over again.
	Failback(cluster string) error

	// Reload goes over to what the file says now.
	Reload(ctx context.Context) error
	// Plan tells what a reload would do if the file had a text; nil = with what is on disk.
	Plan(file string, text []byte) (status.Plan, error)
	// Upgrade hands over to the program that is on disk now, in a process of its own.
	Upgrade(ctx context.Context) (status.Upgrade, error)
	// Stop ends the process, after a drain or at once, and returns how many sessions were cut.
	Stop(ctx context.Context, now bool) (cut int, err error)
}
