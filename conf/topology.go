package conf

import "time"

// Topology is the source of the roles of a cluster's servers.
type Topology struct {
	Type     string // sentinel, mysql or galera
	Role     string // that servers need to serve: primary, replica or replica_first
	Interval time.Duration
	Timeout  time.Duration // of one exchange with one server or Sentinel; ≤ Interval
	Discover bool          // servers come from the source
	Server   Server        // options of discovered servers; without name and address

	Sentinels []Address // sentinel: at least one
	Master    string    // sentinel: the monitored name
	Quorum    int       // sentinel: Sentinels that must agree; 0 = a majority

	Fall       int    // mysql, galera: polls in a row that must fail before an answer no longer holds
	OnConflict string // mysql: none or keep
	Sticky     bool   // galera: keep the current node while it can serve

	User           string
	Password       Secret
	Database       string // mysql, galera
	ServerKeyFile  string // mysql, galera: as of a check
	AllowPublicKey bool   // mysql, galera: as of a check
	TLS            TLS
}
