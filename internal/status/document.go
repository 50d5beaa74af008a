package status

import "time"

// Document is the status document: the state of one weir at one moment.
type Document struct {
	Version       string    `json:"version"`
	PID           int       `json:"pid"`
	StartedAt     time.Time `json:"started_at"`
	UptimeSeconds float64   `json:"uptime_seconds"`
	Stopping      bool      `json:"stopping"` // draining; new clients are rejected
	Sessions      int       `json:"sessions"`
	MaxSessions   int       `json:"max_sessions"` // the limit in force

	StopsAt *time.Time `json:"stops_at,omitempty"` // while stopping: when the sessions that are left are cut

	Problems []Problem `json:"problems"` // worst first; set by FindProblems

	Node      Node       `json:"node"`
	VIPs      []VIP      `json:"vips,omitempty"`
	Config    Config     `json:"config"`
	StateFile *StateFile `json:"state_file,omitempty"` // nil without a state file
	Listeners []Listener `json:"listeners"`
	Clusters  []Cluster  `json:"clusters"`
	Hooks     []Hook     `json:"hooks"` // event hooks

	Fleet     *FleetLink `json:"fleet,omitempty"`     // nil without [fleet]
	Promotion *Promotion `json:"promotion,omitempty"` // nil without runtime.promote_interfaces

	SharedConfig  *SharedConfig  `json:"shared_config,omitempty"`  // nil = the node shares none
	FailedLookups []FailedLookup `json:"failed_lookups,omitempty"` // of host names whose last addresses stay in use
}

// Config is the running configuration and the result of the last reload.
type Config struct {
	File        string     `json:"file"`
	LoadedAt    time.Time  `json:"loaded_at"`
	LastError   string     `json:"last_error"` // error of the last reload; "" = it succeeded
	LastErrorAt *time.Time `json:"last_error_at,omitempty"`
	StaleFiles  []string   `json:"stale_files,omitempty"` // changed within a second after they were loaded; the next reload reads them
	Reloads     uint64     `json:"reloads"`               // since startup, failed ones included
	Failed      uint64     `json:"reloads_failed"`        // reloads that failed
}

// StateFile is the file that saves overrides, verdicts and runtime changes.
type StateFile struct {
	File      string     `json:"file"`
	SavedAt   *time.Time `json:"saved_at"`            // last save; null = none by this process
	LastError string     `json:"last_error"`          // error of the last save; "" = it succeeded
	SetAside  string     `json:"set_aside,omitempty"` // where an invalid file was moved at startup
}

// FailedLookup is a host name that had addresses and has failed to resolve several times in a row.
type FailedLookup struct {
	Name   string    `json:"name"`
	Reason string    `json:"reason"` // error of the last look-up
	Since  time.Time `json:"since"`  // of the first failure
}

// Listener is one address of a listener.
type Listener struct {
	Name          string  `json:"name"`
	Address       string  `json:"address"`
	Protocol      string  `json:"protocol"`
	Cluster       string  `json:"cluster"`
	Level         string  `json:"level,omitempty"`       // in use for its clients, if it has levels of its own; "" = that of the cluster, or none
	MaxRateUp     int64   `json:"max_rate_up,omitempty"` // bytes per second of each session; 0 = no limit
	MaxRateDown   int64   `json:"max_rate_down,omitempty"`
	Routes        []Route `json:"routes,omitempty"`  // in the order in which they are tried, then the default route
	Sessions      int     `json:"sessions"`          // now
	Waiting       int     `json:"waiting,omitempty"` // clients in the kernel's queue, with when_full = "wait"
	SessionsTotal uint64  `json:"sessions_total"`
	BytesUp       uint64  `json:"bytes_up"` // client to server
	BytesDown     uint64  `json:"bytes_down"`
}

// Route is a route of a listener. It is the same for all addresses of the listener.
type Route struct {
	Name          string         `json:"name"` // its position, as in route[0], if it has none
	Conditions    string         `json:"conditions"`
	Clusters      map[string]int `json:"clusters"`       // with their weights in a split, else 1
	SessionsTotal uint64         `json:"sessions_total"` // that it has chosen, at all addresses of the listener
}

// Origins of clusters and servers: the configuration file or a runtime change.
const (
	OriginFile = "file"
	OriginAPI  = "api"

	// OriginTopology is that of servers that the topology of their cluster has found.
	OriginTopology = "topology"

	// OriginDiscovery is that of servers that only a provider has named.
	OriginDiscovery = "discovery"
)

// Cluster is a cluster of the running configuration.
type Cluster struct {
	Name          string   `json:"name"`
	Balance       string   `json:"balance"`
	Origin        string   `json:"origin"`         // file or api
	Level         string   `json:"level"`          // in use; "" = no eligible server
	Held          bool     `json:"held,omitempty"` // the level stays in use because failback is manual
	Empty         bool     `json:"empty"`          // no healthy server
	OnDown        string   `json:"on_down"`        // what happens to the sessions of a server that is down or in maint: keep or close
	Sessions      int      `json:"sessions"`       // of all servers, including removed ones
	SessionsTotal uint64   `json:"sessions_total"` // sum over its servers, as the next four
	BytesUp       uint64   `json:"bytes_up"`       // client to server
	BytesDown     uint64   `json:"bytes_down"`
	DialFailures  uint64   `json:"dial_failures"`
	Retries       uint64   `json:"retries"`
	Queue         int      `json:"queue"`             // sessions in the queue
	HeldSessions  int      `json:"held_sessions"`     // that wait while no server can serve them
	HeldTotal     uint64   `json:"held_total"`        // sessions that have been held
	ReleasedTotal uint64   `json:"released_total"`    // of those, connected to a server
	Closing       *Closing `json:"closing,omitempty"` // nil = no session waits to be closed
	Removed       []string `json:"removed,omitempty"` // servers of the file or of a provider removed at run time
	Levels        []Level  `json:"levels"`

	Topology *Topology `json:"topology,omitempty"` // nil without a topology
}

// Topology is the last decision of the source of a topology.
type Topology struct {
	Type        string     `json:"type"`            // sentinel, mysql or galera
	Role        string     `json:"role"`            // that servers need: primary, replica or replica_first
	Primary     string     `json:"primary"`         // name of its server, else its address; "" = none
	Address     string     `json:"primary_address"` // as the source gives it
	Source      string     `json:"source"`          // describes the decision
	Epoch       uint64     `json:"epoch,omitempty"`
	GTID        string     `json:"gtid,omitempty"`
	DecidedAt   *time.Time `json:"decided_at"` // null = no decision yet
	AgeSeconds  float64    `json:"age_seconds"`
	StaleSince  *time.Time `json:"stale_since,omitempty"`   // since when the source does not confirm the decision
	Problem     string     `json:"problem,omitempty"`       // conflict, lost quorum, unusable replies
	Changes     uint64     `json:"changes"`                 // of the primary
	WithoutRole int        `json:"sessions_on_non_primary"` // sessions on servers that have lost the role
	Members     []Member   `json:"members"`
}

// Member is a server that the source of a topology knows.
type Member struct {
	Address string `json:"address"`
	Server  string `json:"server"` // its name in the cluster; "" = it is not in the cluster
	Role    string `json:"role"`   // primary, replica, other or unknown
	Reason  string `json:"reason,omitempty"`
	Problem string `json:"problem,omitempty"` // why it is not in the cluster, or cannot be reached
}

// Level is a level of a cluster.
type Level struct {
	Name     string   `json:"name"` // the number, counted from 1, of a level without a name
	InUse    bool     `json:"in_use"`
	MinUp    int      `json:"min_up"`
	Eligible int      `json:"eligible"`           // number of eligible servers
	Impaired bool     `json:"impaired,omitempty"` // below min_up for a reason other than standby servers and operators
	Servers  []Server `json:"servers"`
	Omitted  *Omitted `json:"omitted,omitempty"` // nil = Servers has all

	Discovery *Discovery `json:"discovery,omitempty"` // nil without a provider
}

// Server is a server in one level. Counters are sums over all levels of the server.
type Server struct {
	Name            string     `json:"name"`
	Address         string     `json:"address"`
	Origin          string     `json:"origin"`             // file, api, topology or discovery
	Role            string     `json:"role,omitempty"`     // according to the topology: primary, replica, other or unknown
	State           string     `json:"state"`              // up, standby, probation, failing, full, down, unresolved, drain, maint or unstable
	Reason          string     `json:"reason"`             // "" when up
	Since           time.Time  `json:"since"`              // of the state
	Deadline        *time.Time `json:"deadline,omitempty"` // of a drain: its sessions are then closed
	Weight          int        `json:"weight"`             // override, else configured weight × agent percentage
	EffectiveWeight float64    `json:"effective_weight"`   // after slow start and failed attempts
	MaxSessions     int        `json:"max_sessions"`       // after slow start; 0 = no limit
	Part            *int       `json:"part,omitempty"`     // of MaxSessions, that this node of a fleet may use; nil = all
	Sessions        int        `json:"sessions"`           // now
	SessionsPeak    int        `json:"sessions_peak"`      // most at one time since the process started or the server was added
	SessionsTotal   uint64     `json:"sessions_total"`
	BytesUp         uint64     `json:"bytes_up"` // client to server
	BytesDown       uint64     `json:"bytes_down"`
	Dials           uint64     `json:"dials"`
	DialFailures    uint64     `json:"dial_failures"`
	Retries         uint64     `json:"retries"`               // dials after the first of a session
	ConnectMS       float64    `json:"connect_ms"`            // smoothed; 0 = never connected
	CheckFailures   uint64     `json:"check_failures"`        // failed runs of all its checks
	LastCheck       *LastCheck `json:"last_check,omitempty"`  // nil = no check of it has had a result
	NotChecked      string     `json:"not_checked,omitempty"` // a check that this host could not run several times in a row, and why
	Layers          []Layer    `json:"layers"`
}

// LastCheck is the last run of a check of a server that had a result.
type LastCheck struct {
	Check      string    `json:"check"` // its ID
	At         time.Time `json:"at"`    // end of the run
	DurationMS float64   `json:"duration_ms"`
	Passed     bool      `json:"passed"`
}

// Layer is one layer of the state of a server. Layers are listed in order of precedence.
type Layer struct {
	Layer       string     `json:"layer"` // override, configuration, resolver, topology, fleet, agent, checks or passive
	By          string     `json:"by"`    // source: operator, the file, the id of a check …
	Says        string     `json:"says"`  // the state it requests; "" = none
	Weight      *int       `json:"weight,omitempty"`
	Percent     *int       `json:"percent,omitempty"` // of the configured weight
	MaxSessions *int       `json:"max_sessions,omitempty"`
	Reason      string     `json:"reason,omitempty"`
	At          *time.Time `json:"at,omitempty"`    // when it was set
	Until       *time.Time `json:"until,omitempty"` // when it expires
	Decides     bool       `json:"decides"`         // the layer decides the state
}

// Explanation is a server with its cluster and levels.
type Explanation struct {
	Cluster string   `json:"cluster"`
	Levels  []string `json:"levels"` // of the server

	// Shared is what became of the override of the request in the fleet; "" without a fleet, and in answers to GET.
	Shared string `json:"shared,omitempty"`
	Server
}
