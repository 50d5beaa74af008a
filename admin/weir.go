package admin

import (
	"context"
	"time"

	"weir/conf"
	"weir/internal/status"
)

// Weir is what the API needs of a running weir. Its methods are safe for concurrent use. Errors caused by the request are of type
// *status.RequestError. A text is a request body; the method validates it.
type Weir interface {
	// Status returns the status document.
	Status() status.Document
	// History returns what a server has done in the last hour, or a cluster if server is "", or all clusters if both are "". after,
	// if it is not zero, omits the points until then.
	History(cluster, server string, after time.Time) (status.History, error)
	// Metrics returns the values of one scrape. It builds no Status.
	Metrics() status.Metrics
	// APIClients returns how many clients each address of the API may have at once.
	APIClients() int
	// CheckReady returns nil if new clients should come here, else why not. With a cluster, it must be able to serve.
	CheckReady(cluster string) error
	// ListSessions returns the sessions that match the filter.
	ListSessions(status.SessionFilter) []status.Session
	// Events returns the events with an ID above after, and how many of them are no longer in the event log. With wait it
	// blocks until there is one or ctx ends.
	Events(ctx context.Context, after uint64, wait bool) (events []status.Event, missed uint64, err error)
	// Explain returns the layers of the state of a server.
	Explain(cluster, server string) (status.Explanation, error)
	// Discoveries returns what the providers of a cluster have answered.
	Discoveries(cluster string) (status.DiscoveryReport, error)

	// Override changes the override of a server. by names who asks.
	Override(by, cluster, server string, text []byte) error
	// Shared waits for the store of the fleet, for a second at most, and returns what became of the last override of a server,
	// or with server = "" of the runtime changes of a cluster, such as status.SharedWritten; "" without a fleet.
	Shared(cluster, server string) string
	// Feedback reports a failure or a success of a server.
	Feedback(cluster, server string, text []byte) error
	// CutServer cuts the sessions of a server and returns their number.
	CutServer(cluster, server string) (int, error)
	// CutSession cuts one session.
	CutSession(id uint64) error

	// AddServer adds a server to a cluster and returns its name.
	AddServer(change status.RuntimeChange, cluster string, text []byte) (name string, err error)
	// RemoveServer removes a server from a cluster. Its sessions drain.
	RemoveServer(change status.RuntimeChange, cluster, server string) error
	// RestoreServer takes back the removal of a server of the file.
	RestoreServer(change status.RuntimeChange, cluster, server string) error
	// PutCluster creates or replaces a cluster, and reports whether it is new.
	PutCluster(change status.RuntimeChange, name string, text []byte) (created bool, err error)
	// RemoveCluster removes a cluster that no listener uses.
	RemoveCluster(change status.RuntimeChange, name string) error
	// Rebalance closes the sessions of a cluster that are above the fair shares of its servers; text may ask for a dry run.
	Rebalance(cluster string, text []byte) (status.Rebalance, error)
	// Failback lets a better level of a cluster take over.
	Failback(cluster string) error
	// ResetTopology drops the epoch fence of the topology of a cluster, and asks its source again. by names who asks.
	ResetTopology(by, cluster string) error

	// DrainNode makes other hosts serve new clients; text may have a reason. by names who asks.
	DrainNode(by string, text []byte) (status.Node, error)
	// ReadyNode ends DrainNode.
	ReadyNode(by string, text []byte) (status.Node, error)
	// Fleet returns what this weir knows of its fleet.
	Fleet() (status.Fleet, error)
	// SetFleetNode drains a node of the fleet, or ends that; text may have a reason. by names who asks. It returns what became of it,
	// as Shared does.
	SetFleetNode(by, node, to string, text []byte) (shared string, err error)
	// FleetReset removes all overrides of the fleet. by names who asks.
	FleetReset(ctx context.Context, by string) error
	// FollowFleet ends the runtime changes of a cluster that are for this node only. by names who asks.
	FollowFleet(by, cluster string) error
	// FleetForget declares a node gone, so that its parts of limits pass to others. by names who asks.
	FleetForget(ctx context.Context, by, node string) error

	// Reload reloads the configuration file.
	Reload(ctx context.Context) error
	// Plan returns what a reload would do if file had the text; nil = the file on disk. included are the files that the text
	// includes; nil = files of this host.
	Plan(file string, text []byte, included []conf.SourceFile) (status.Plan, error)
	// SharedConfig returns the configuration that this node shares with its fleet.
	SharedConfig() (status.SharedConfig, error)
	// ApplyShared begins the roll-out of a shared configuration. file stands for the text in messages; by names who asks.
	ApplyShared(ctx context.Context, by, file string, text []byte, canaries int, pause time.Duration) (status.Rollout, error)
	// RollBackShared ends the roll-out in progress, or begins one to the previous revision.
	RollBackShared(ctx context.Context, by string) (status.Rollout, error)
	// ClearShared begins the roll-out that returns all nodes to their files, and removes the shared configuration from the store.
	ClearShared(ctx context.Context, by string) (status.Rollout, error)
	// Upgrade hands over to a new process of the binary on disk.
	Upgrade(ctx context.Context) (status.Upgrade, error)
	// Stop drains, or with now cuts all sessions, ends the process and returns how many sessions were cut.
	Stop(ctx context.Context, now bool) (cut int, err error)
}
