package status

// Totals is what is counted and measured, beside what a Document says: what metrics are made of.
type Totals struct {
	Document
	Ended            []Ended
	SessionDurations []SessionDurations
	Loops            []Loop
	Dials            Histogram  // of dials that succeeded
	Rejected         []Rejected // clients turned away
	Dropped          []Dropped  // datagrams of UDP listeners
	Checks           []Check
	Events           uint64 // told since the start
	RecordsLost      uint64 // session records that the log had no room for
	Pipes            int    // open now
	Descriptors      int    // open now
	MaxDescriptors   int    // how many there may be
	Goroutines       int
}

// Ended counts the sessions of a listener that ended for one reason in one phase.
type Ended struct {
	Listener, Phase, Reason string
	Sessions                uint64
}

// Dropped is how many datagrams a listener has not relayed, for one reason.
type Dropped struct {
	Listener, Reason string
	Datagrams        uint64
}

// Rejected is how many clients a listener has turned away for one reason.
type Rejected struct {
	Listener, Reason string
	Clients          uint64
}

// SessionDurations is how long the sessions of a listener took.
type SessionDurations struct {
	Listener string
	Took     Histogram
}

// Loop is one event loop.
type Loop struct {
	Sessions    int // now
	BusySeconds float64
}

// Check is what has been counted of one check of one server.
type Check struct {
	Cluster, Server, Check string
	Passed, Failed         uint64
	Took                   Histogram
}

// Histogram counts durations in seconds: Buckets are cumulative, by upper bound.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64
}
