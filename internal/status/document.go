package status

import "time"

// Document is everything observed of one weir at one moment.
type Document struct {
	Version       string    `json:"version"`
	PID           int       `json:"pid"`
	StartedAt     time.Time `json:"started_at"`
	UptimeSeconds float64   `json:"uptime_seconds"`
	Stopping      bool      `json:"stopping"` // it drains, and takes no more clients
	Sessions      int       `json:"sessions"`
	MaxSessions   int       `json:"max_sessions"` // the limit in force

	Problems []Problem `json:"problems"` // worst first; set by FindProblems

	Config    Config     `json:"config"`
	StateFile *StateFile `json:"state_file,omitempty"` // if one is asked for
	Listeners []Listener `json:"listeners"`
	Clusters  []Cluster  `json:"clusters"`
	Hooks     []Hook     `json:"hooks"` // who is told of events
}

// Config is the configuration in force and what became of the last attempt to replace it.
type Config struct {
	File        string     `json:"file"`
	LoadedAt    time.Time  `json:"loaded_at"`
	LastError   string     `json:"last_error"` // why the last reload was refused; "" after one that was not
	LastErrorAt *time.Time `json:"last_error_at,omitempty"`
	Reloads     uint64     `json:"reloads"`        // since the start
	Failed      uint64     `json:"reloads_failed"` // of those refused
}

// StateFile is the file in which what was said and found out outlasts the process.
type StateFile struct {
	File      string     `json:"file"`
	SavedAt   *time.Time `json:"saved_at"`            // last; null = not yet by this process
	LastError string     `json:"last_error"`          // why it cannot be written; "" = it can
	SetAside  string     `json:"set_aside,omitempty"` // what was there at the start and could not be read
}

// Listener is one address where clients arrive. A listener with several addresses is here once for each.
type Listener struct {
	Name          string `json:"name"`
	Address       string `json:"address"`
	Protocol      string `json:"protocol"`
	Cluster       string `json:"cluster"`
	Sessions      int    `json:"sessions"` // now
	SessionsTotal uint64 `json:"sessions_total"`
	BytesUp       uint64 `json:"bytes_up"` // client to server
	BytesDown     uint64 `json:"bytes_down"`
}

// Origins of clusters and servers.
const (
	OriginFile = "file"
	OriginAPI  = "api"
)

// Cluster is a cluster at work.
type Cluster struct {
	Name     string   `json:"name"`
	Balance  string   `json:"balance"`
	Origin   string   `json:"origin"`            // file or api: who described it
	Level    string   `json:"level"`             // in use; "" = none has a server that may serve
	Held     bool     `json:"held,omitempty"`    // the level is in use only because failback is manual
	Empty    bool     `json:"empty"`             // no server is in service on its own merits
	Sessions int      `json:"sessions"`          // of all servers, those that have left included
	Queue    int      `json:"queue"`             // sessions that wait for room
	Removed  []string `json:"removed,omitempty"` // servers of the file that were taken out at run time
	Levels   []Level  `json:"levels"`
}

// Level is one tier of a cluster.
type Level struct {
	Name     string   `json:"name"` // its number, counted from 1, if it has no other
	InUse    bool     `json:"in_use"`
	MinUp    int      `json:"min_up"`
	Eligible int      `json:"eligible"` // servers that may be given sessions
	Servers  []Server `json:"servers"`
}

// Server is a server in one level. What is counted is counted over all levels that it is in.
type Server struct {
	Name            string    `json:"name"`
	Address         string    `json:"address"`
	Origin          string    `json:"origin"`           // file or api: who put it here
	State           string    `json:"state"`            // up, probation, failing, down, unresolved, drain, maint or unstable
	Reason          string    `json:"reason"`           // "" when up
	Since           time.Time `json:"since"`            // of the state
	Weight          int       `json:"weight"`           // override, else configured × agent
	EffectiveWeight float64   `json:"effective_weight"` // after slow start and what failed attempts cost
	MaxSessions     int       `json:"max_sessions"`     // after slow start; 0 = no limit
	Sessions        int       `json:"sessions"`         // now
	SessionsTotal   uint64    `json:"sessions_total"`
	BytesUp         uint64    `json:"bytes_up"` // client to server
	BytesDown       uint64    `json:"bytes_down"`
	Dials           uint64    `json:"dials"`
	DialFailures    uint64    `json:"dial_failures"`
	Retries         uint64    `json:"retries"`    // dials after a session's first
	ConnectMS       float64   `json:"connect_ms"` // smoothed; 0 = never connected
	Layers          []Layer   `json:"layers"`
}

// Layer is what one layer says about a server, in the order in which layers are asked.
type Layer struct {
	Layer       string     `json:"layer"` // override, configuration, agent, checks, passive or resolver
	By          string     `json:"by"`    // who speaks for it: operator, the file, the id of a check …
	Says        string     `json:"says"`  // the state it asks for; "" = none
	Weight      *int       `json:"weight,omitempty"`
	Percent     *int       `json:"percent,omitempty"` // of the configured weight
	MaxSessions *int       `json:"max_sessions,omitempty"`
	Reason      string     `json:"reason,omitempty"`
	At          *time.Time `json:"at,omitempty"`    // when it said so
	Until       *time.Time `json:"until,omitempty"` // when it will be over by itself
	Decides     bool       `json:"decides"`         // the server's state is this layer's
}

// Explanation is how a server's state came about.
type Explanation struct {
	Cluster string   `json:"cluster"`
	Levels  []string `json:"levels"` // that it is in
	Server
}
