package status

import "time"

// Metrics holds the values of one scrape. Counters go on across upgrades and reloads while their object exists.
type Metrics struct {
	Version      string
	StartedAt    time.Time
	Ready        bool
	Node         Node
	VIPs         []VIP
	Config       Config
	StateFile    *StateFile    // nil without a state file
	SharedConfig *SharedConfig // nil = the node shares none
	MaxSessions  int           // the limit in force
	Fleet        *FleetLink    // nil without [fleet]
	Promotion    *Promotion    // nil without runtime.promote_interfaces

	FleetLimits    []FleetLimit // that are divided
	FleetConflicts uint64       // overrides that lost against one of another node
	FleetRestores  uint64       // times that the store had lost its data

	Listeners     []ListenerMetrics
	Clusters      []ClusterMetrics
	Checks        []CheckMetrics
	ChecksSkipped []ReasonCount // runs of checks that this host could not do
	Hooks         []Hook
	Loops         []LoopMetrics
	DialDurations Histogram // of successful dials

	Events          uint64
	RecordsDropped  uint64 // session records that the log did not take
	Pipes           int    // open now
	OpenDescriptors int
	MaxDescriptors  int
	Goroutines      int
}

// ListenerMetrics are the sums over the addresses of a listener.
type ListenerMetrics struct {
	Name          string
	Sessions      int // now
	Waiting       int // clients in the kernel's queue, with when_full = "wait"
	SessionsTotal uint64
	BytesUp       uint64 // client to server
	BytesDown     uint64
	Routes        []Route // nil without routes
	Ended         []Ended
	Rejected      []ReasonCount   // clients
	Dropped       []ReasonCount   // datagrams; nil for TCP
	Datagrams     *DatagramCounts // that were forwarded; nil for TCP
	Durations     Histogram       // of ended sessions
}

// DatagramCounts count datagrams that a UDP listener has forwarded.
type DatagramCounts struct {
	Up   uint64 // client to server
	Down uint64
}

// Ended counts the sessions that ended for one reason in one phase.
type Ended struct {
	Phase, Reason string
	Count         uint64
}

// ReasonCount counts events that have one reason.
type ReasonCount struct {
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

// ClusterMetrics describe a cluster.
type ClusterMetrics struct {
	Name         string
	Level        string // in use; "" = none
	Held         bool   // the level stays in use because failback is manual
	Empty        bool   // no healthy server
	Sessions     int    // of all servers, including removed ones
	Queue        int    // sessions in the queue
	HeldSessions int
	HeldTotal    uint64        // sessions that have been held
	HoldsEnded   []ReasonCount // by outcome
	Closing      int           // sessions to close
	Closed       []ClosedCount
	Levels       []LevelMetrics
	Servers      []ServerMetrics // each once, whatever the number of its levels

	Topology  *TopologyMetrics   // nil without a topology
	Discovery []DiscoveryMetrics // of the levels with a provider
}

// TopologyMetrics describe the topology of a cluster.
type TopologyMetrics struct {
	Stale       bool
	Primary     bool   // there is a primary
	Epoch       uint64 // 0 = the source has none
	Changes     uint64 // of the primary
	WithoutRole int    // sessions on servers that have lost the role
}

// LevelMetrics describe a level of a cluster.
type LevelMetrics struct {
	Name     string
	InUse    bool
	Eligible int  // servers
	Impaired bool // below min_up for a reason other than standby servers and operators
	Weights  []ServerWeight
}

// ServerWeight is the weight of a server in a level.
type ServerWeight struct {
	Server    string
	Weight    int     // override, else configured × agent
	Effective float64 // after slow start and failed attempts
}

// ServerMetrics count over all levels of a server.
type ServerMetrics struct {
	Name          string
	State         string
	Role          string // according to the topology; "" without one
	Sessions      int    // now
	SessionsTotal uint64
	BytesUp       uint64 // client to server
	BytesDown     uint64
	Dials         uint64
	DialFailures  uint64
	Retries       uint64 // dials after a session's first
}

// CheckMetrics count the results of one check of one server.
type CheckMetrics struct {
	Cluster, Server, Check string
	Passed, Failed         uint64
	Durations              Histogram
}

// LoopMetrics describe one event loop.
type LoopMetrics struct {
	Sessions    int // now
	BusySeconds float64
}

// Histogram counts durations in seconds: Buckets are cumulative, by upper bound.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64
}
