package conf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/conf/internal/tree"
)

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

// TopologyTypes returns the legal types of topologies.
func TopologyTypes() []string { return []string{"sentinel", "mysql", "galera"} }

// Agreeing returns the number of Sentinels that must agree.
func (t *Topology) Agreeing() int {
	if t.Quorum > 0 {
		return t.Quorum
	}
	return len(t.Sentinels)/2 + 1
}

// topologyDraft is a topology with the position of its table.
type topologyDraft struct {
	Topology
	node *tree.Node
}

func topologyKeys() []key[topologyDraft] {
	typeWords := map[string]string{
		"redis": "sentinel", "redis_sentinel": "sentinel", "redis-sentinel": "sentinel", "valkey": "sentinel", "mariadb": "mysql", "replication": "mysql", "wsrep": "galera",
	}
	roleWords := map[string]string{
		"master": "primary", "writer": "primary", "slave": "replica", "reader": "replica", "secondary": "replica", "replicas": "replica",
		"prefer_replica": "replica_first", "replica_preferred": "replica_first", "secondary_preferred": "replica_first",
	}
	roles := oneOf([]string{"primary", "replica", "replica_first"}, roleWords)
	return slices.Concat([]key[topologyDraft]{
		scalar("type", oneOf(TopologyTypes(), typeWords), "", func(t *topologyDraft) *string { return &t.Type },
			"Who knows the primary: `sentinel` the Sentinels of Redis or Valkey, `mysql` the servers themselves, which are MySQL or MariaDB with replicas, `galera` the nodes of a Galera cluster.").required().withAliases("kind"),
		scalar("role", roles, "primary", func(t *topologyDraft) *string { return &t.Role },
			"The role that a server needs to get sessions: `primary`, `replica`, or `replica_first`: replicas, and the primary only while no replica can serve."),
		scalar("interval", positiveDuration(), "1s", func(t *topologyDraft) *time.Duration { return &t.Interval },
			"How often the source is asked. A notification of a Sentinel does not wait for it.").withAliases("inter", "period", "every"),
		scalar("timeout", positiveDuration(), "", func(t *topologyDraft) *time.Duration { return &t.Timeout },
			"Timeout of one exchange with a Sentinel or server; not longer than `interval`.").withDefaultText("`\"500ms\"`, or `interval` if that is shorter"),
		onlyIn("sentinel", sentinelsKey()),
		onlyIn("sentinel", scalar("master", orEmpty(nameType()), "", func(t *topologyDraft) *string { return &t.Master },
			"name under which the Sentinels monitor the primary. Required.").withAliases("name", "master_name", "service_name")),
		onlyIn("sentinel", scalar("quorum", integerType(0, maxSentinels), "0", func(t *topologyDraft) *int { return &t.Quorum },
			"number of Sentinels that must name the same primary; 0 = a majority of those listed.")),
		onlyIn("sentinel", scalar("discover", booleanType(), "false", func(t *topologyDraft) *bool { return &t.Discover },
			"add the servers that the Sentinels list to the first level. The levels may then be empty, or left out.").withAliases("discovery", "auto_discover")),
		topologyServerKey(),
		onlyIn("mysql galera", scalar("fall", integerType(1, maxInt), "2", func(t *topologyDraft) *int { return &t.Fall },
			"polls in a row that must fail before the last answer of a server no longer holds.").withAliases("fails")),
		onlyIn("mysql", scalar("on_conflict", oneOf([]string{"none", "keep"}, nil), "none", func(t *topologyDraft) *string { return &t.OnConflict },
			"what happens if several servers are writable and their data does not decide between them: `none`: there is no primary; `keep`: the current one stays.")),
		onlyIn("galera", scalar("sticky", booleanType(), "false", func(t *topologyDraft) *bool { return &t.Sticky },
			"keep the current node as the primary while it can serve.")),
	}, topologyLoginKeys())
}

func topologyLoginKeys() []key[topologyDraft] {
	return []key[topologyDraft]{
		scalar("user", orEmpty(plainTextType()), "", func(t *topologyDraft) *string { return &t.User },
			"User to log in as: at the Sentinels, or at the servers. Required for mysql and galera.").withAliases("username"),
		scalar("password", orEmpty(secretType()), "", func(t *topologyDraft) *string { return &t.Password.Value },
			"The password itself.").withAliases("pass", "auth", "secret").hideValue(),
		scalar("password_file", orEmpty(inputFileType()), "", func(t *topologyDraft) *string { return &t.Password.File },
			"File with the password; a byte order mark and one line end after the password are ignored."),
		scalar("password_env", orEmpty(plainTextType()), "", func(t *topologyDraft) *string { return &t.Password.Env },
			"Environment variable of weir with the password."),
		onlyIn("mysql galera", scalar("database", orEmpty(plainTextType()), "", func(t *topologyDraft) *string { return &t.Database },
			"database to log in to.").withAliases("db", "schema")),
		onlyIn("mysql galera", scalar("server_public_key_file", orEmpty(inputFileType()), "", func(t *topologyDraft) *string { return &t.ServerKeyFile },
			"as for a mysql check.")),
		onlyIn("mysql galera", scalar("allow_public_key", booleanType(), "false", func(t *topologyDraft) *bool { return &t.AllowPublicKey },
			"as for a mysql check.")),
		scalar("tls", booleanType(), "false", func(t *topologyDraft) *bool { return &t.TLS.On },
			"Use TLS.").withAliases("ssl"),
		scalar("tls_server_name", orEmpty(plainTextType()), "", func(t *topologyDraft) *string { return &t.TLS.ServerName },
			"Server name to send (SNI) and to verify.").withDefaultText("the host's name").withAliases("sni", "server_name"),
		scalar("tls_ca_file", orEmpty(inputFileType()), "", func(t *topologyDraft) *string { return &t.TLS.CAFile },
			"File with trusted certificates (PEM).").withDefaultText("the system's").withAliases("ca_file", "cafile"),
		scalar("tls_cert_file", orEmpty(inputFileType()), "", func(t *topologyDraft) *string { return &t.TLS.CertFile },
			"File with weir's certificate and its chain (PEM), for servers that require one.").withDefaultText("none").withAliases("cert_file", "tls_cert"),
		scalar("tls_key_file", orEmpty(inputFileType()), "", func(t *topologyDraft) *string { return &t.TLS.KeyFile },
			"File with the key of `tls_cert_file` (PEM).").withDefaultText("none").withAliases("key_file", "tls_key"),
		scalar("tls_skip_verify", booleanType(), "false", func(t *topologyDraft) *bool { return &t.TLS.SkipVerify },
			"Accept any certificate.").withAliases("insecure", "skip_verify"),
	}
}

// maxSentinels limits the Sentinels of a topology: each has a connection and a subscription.
const maxSentinels = 64

func sentinelsKey() key[topologyDraft] {
	return key[topologyDraft]{
		name: "sentinels", typeText: "list of addresses", aliases: []string{"sentinel", "addresses", "hosts", "nodes", "servers"},
		doc: "addresses of the Sentinels with their ports. Required.",
		decode: func(d *decoder, n *tree.Node, t *topologyDraft) {
			switch {
			case n.Kind == tree.List && len(n.Items) == 0:
				d.errorAt(n, "want at least one Sentinel")
				return
			case n.Kind != tree.List:
				d.errorAt(n, "want a list of addresses such as [\"10.0.0.1:26379\"], got %s", n.Describe())
				return
			case len(n.Items) > maxSentinels:
				d.errorAt(n, "want at most %d Sentinels, got %d", maxSentinels, len(n.Items))
				return
			}
			seen := make(map[Address]*tree.Node)
			for _, e := range n.Items {
				at, ok := read(d, e, serverAddressType())
				switch {
				case !ok:
				case at.Path != "":
					d.errorAt(e, "a Sentinel has no unix socket; want an address such as \"10.0.0.1:26379\"")
				case seen[at] != nil:
					d.errorAt(e, "Sentinel %s is listed twice (%s)", at, lines(seen[at], e))
				default:
					seen[at] = e
					t.Sentinels = append(t.Sentinels, at)
				}
			}
		},
		show: func(t *topologyDraft) string {
			texts := make([]string, len(t.Sentinels))
			for i, at := range t.Sentinels {
				texts[i] = at.String()
			}
			return strings.Join(texts, ", ")
		},
	}
}

// topologyServerKey is the table of options of discovered servers. It is decoded with the cluster's defaults, in decodeTopology.
func topologyServerKey() key[topologyDraft] {
	return onlyIn("sentinel", table("server", "options of the servers that are added by `discover`: all keys of a server but `address`, `port` and `name`.",
		func(d *decoder, n *tree.Node, t *topologyDraft) {
			for _, name := range []string{"address", "port", "name"} {
				if own := n.Get(name); own != nil {
					d.errorAtKey(own, "discovered servers have the addresses that the source gives, and these as their names")
					n.Delete(name)
				}
			}
			decodePresent(d, n, discoveredServerKeys(d.schema.server), &t.Server)
		}))
}

// discoveredServerKeys returns the keys of a server that may be set for discovered servers.
func discoveredServerKeys(keys []key[Server]) []key[Server] {
	return slices.DeleteFunc(slices.Clone(keys), func(k key[Server]) bool { return k.name == "address" || k.name == "port" || k.name == "name" })
}

func decodeTopology(d *decoder, n *tree.Node, c *clusterDraft) {
	t := topologyDraft{node: n}
	t.Server = c.Defaults
	setDefaults(discoveredServerKeys(d.schema.server), &t.Server)
	decodeTable(d, n, d.schema.topology, &t)
	switch at := n.Get("timeout"); {
	case at == nil:
		t.Timeout = min(500*time.Millisecond, t.Interval)
	case t.Interval > 0 && t.Timeout > t.Interval:
		d.errorAt(at, "timeout %s is longer than interval %s", showDuration(t.Timeout), showDuration(t.Interval))
	}
	c.topology = &t
	c.Topology = &t.Topology
	if t.Type == "" {
		return // reported already
	}
	for _, k := range d.schema.topology {
		if at := n.Get(k.name); at != nil && k.types != nil && !slices.Contains(k.types, t.Type) {
			d.errorAtKey(at, "%s applies to %s topologies; this is a %s topology", k.name, joinWords(k.types, "and"), t.Type)
		}
	}
	finishSecret(d, n)
	finishTLS(d, n, t.TLS)
	if t.Type == "sentinel" {
		finishSentinel(d, n, &t)
		return
	}
	if user := n.Get("user"); user == nil || user.Value == "" {
		d.errorMissing(n, "user", "a %s topology requires user", t.Type)
	}
}

func finishSentinel(d *decoder, n *tree.Node, t *topologyDraft) {
	if n.Get("sentinels") == nil {
		d.errorMissing(n, "sentinels", "a sentinel topology requires sentinels, the addresses of the Sentinels")
	}
	switch at := n.Get("master"); {
	case at == nil:
		d.errorMissing(n, "master", "a sentinel topology requires master, the name that the Sentinels monitor")
	case at.Value == "":
		d.errorAt(at, "empty name")
	}
	if at, list := n.Get("quorum"), n.Get("sentinels"); at != nil && list != nil && len(list.Items) == len(t.Sentinels) && t.Quorum > len(t.Sentinels) {
		d.errorAt(at, "quorum is %d, but the topology has only %s", t.Quorum, count(len(t.Sentinels), "Sentinel"))
	}
	if at := n.Get("server"); at != nil && !t.Discover {
		d.errorAtKey(at, "server requires discover = true")
	}
}

// Discovered returns the server that discover adds for an address that the source gives: host:port with an IP address or a
// host name. Its name is the address.
func (t *Topology) Discovered(address string) (Server, error) {
	n := &tree.Node{Value: address}
	at, err := serverAddressType().parse(n)
	if err != nil {
		return Server{}, err
	}
	if at.Path != "" {
		return Server{}, errors.New("a unix socket")
	}
	if _, err := serverNameType().parse(n); err != nil {
		return Server{}, err
	}
	s := t.Server
	s.Name, s.Address = address, at
	if ip := at.Addr.Addr(); ip.IsValid() && !s.Source.IsZero() && !s.Source.Client && len(s.Source.RangesFor(ip)) == 0 {
		return Server{}, fmt.Errorf("cannot connect to %s from source %s", at, s.Source)
	}
	return s, nil
}

// validateTopology validates the servers of a cluster against its topology.
func validateTopology(d *decoder, c *clusterDraft) {
	for i := range c.levels {
		for j := range c.levels[i].servers {
			s := &c.levels[i].servers[j]
			if why := c.Topology.refuses(s.Address); why != "" {
				d.errorAt(s.keyOrServer("address"), "server %s %s", tree.Quote(s.Name), why)
			}
		}
	}
}

// refuses returns why a server cannot have an address, or "". t may be nil.
func (t *Topology) refuses(a Address) string {
	switch {
	case t == nil:
	case t.Type == "sentinel" && a.Path != "":
		return "is a unix socket, which Sentinels do not know"
	case a.SamePort:
		return "has port = \"same\": a topology needs the port of each server"
	}
	return ""
}

// topologyDetails compares the topologies of a cluster.
func (w *differ) topologyDetails(a, b *Topology) []Detail {
	kind := func(t *Topology) string {
		if t == nil {
			return "none"
		}
		return t.Type
	}
	if a == nil || b == nil {
		if a == b {
			return nil
		}
		return []Detail{{Key: "topology", From: kind(a), To: kind(b)}}
	}
	var out []Detail
	for _, d := range changes(w.schema.topology, topologyDraft{Topology: *a}, topologyDraft{Topology: *b}) {
		d.Key = "topology." + d.Key
		out = append(out, d)
	}
	if a.Discover && b.Discover {
		for _, d := range changes(discoveredServerKeys(w.schema.server), a.Server, b.Server) {
			d.Key = "topology.server." + d.Key
			out = append(out, d)
		}
	}
	return out
}
