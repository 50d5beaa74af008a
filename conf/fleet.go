package conf

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"weir/conf/internal/tree"
)

// The [fleet] table.

// Fleet configures what this weir shares with others.
type Fleet struct {
	Store     string   // etcd
	Endpoints []string // URLs, all http or all https; at least one
	Prefix    string   // of all keys: absolute, without a slash at its end
	Node      string   // unique in the fleet; "" = the host name
	User      string   // "" = no user
	Password  Secret   // of User; never a literal
	TLS       TLS      // On with https
	Share     []string // some of FleetShares; sorted
	TTL       time.Duration

	LimitReserve time.Duration // of the parts of a silent node; 0 = for ever
}

// FleetShares lists what a fleet may share.
func FleetShares() []string { return []string{"config", "limits", "overrides"} }

// SharesConfig reports whether listeners and clusters come from the fleet once it has a revision of them.
func (c *Config) SharesConfig() bool {
	return c.Fleet != nil && slices.Contains(c.Fleet.Share, "config")
}

func (all *draft) sharesConfig() bool {
	return all.fleet.node != nil && slices.Contains(all.fleet.Share, "config")
}

// fleetDraft is the [fleet] table with the first of its nodes; nil = none.
type fleetDraft struct {
	Fleet
	node *tree.Node
}

const (
	maxEndpoints = 16
	maxFleetText = 200 // bytes of a prefix or of a node's name
)

func fleetKeys() []key[fleetDraft] {
	return []key[fleetDraft]{
		scalar("store", oneOf([]string{"etcd"}, map[string]string{"etcd3": "etcd", "etcdv3": "etcd"}), "etcd", func(f *fleetDraft) *string { return &f.Store },
			"Where the fleet keeps its records: `etcd`, version 3.4 or later.").withAliases("backend", "type", "engine"),
		endpointsKey(),
		scalar("prefix", fleetPrefixType(), "/weir", func(f *fleetDraft) *string { return &f.Prefix },
			"Prefix of all keys. Weirs with the same prefix are one fleet.").withAliases("path", "root", "namespace"),
		scalar("node", orEmpty(nodeNameType()), "", func(f *fleetDraft) *string { return &f.Node },
			"Name of this weir, unique in the fleet.").withDefaultText("the host name").withAliases("name", "id", "hostname"),
		scalar("user", orEmpty(plainTextType()), "", func(f *fleetDraft) *string { return &f.User },
			"User of the store. Requires `password_file` or `password_env`.").withDefaultText("none").withAliases("username"),
		scalar("password_file", orEmpty(inputFileType()), "", func(f *fleetDraft) *string { return &f.Password.File },
			"File with the password; one line end after it is ignored.").withDefaultText("none").withAliases("password"),
		scalar("password_env", orEmpty(plainTextType()), "", func(f *fleetDraft) *string { return &f.Password.Env },
			"Environment variable of weir with the password.").withDefaultText("none"),
		scalar("tls_server_name", orEmpty(plainTextType()), "", func(f *fleetDraft) *string { return &f.TLS.ServerName },
			"Server name to send (SNI) and to verify, with `https`.").withDefaultText("the host's name").withAliases("sni", "server_name"),
		scalar("tls_ca_file", orEmpty(inputFileType()), "", func(f *fleetDraft) *string { return &f.TLS.CAFile },
			"File with trusted certificates (PEM).").withDefaultText("the system's").withAliases("ca_file", "cacert", "trusted_ca_file"),
		scalar("tls_cert_file", orEmpty(inputFileType()), "", func(f *fleetDraft) *string { return &f.TLS.CertFile },
			"File with weir's certificate and its chain (PEM), for stores that require one.").withDefaultText("none").withAliases("cert_file", "cert"),
		scalar("tls_key_file", orEmpty(inputFileType()), "", func(f *fleetDraft) *string { return &f.TLS.KeyFile },
			"File with the key of `tls_cert_file` (PEM).").withDefaultText("none").withAliases("key_file", "key"),
		shareKey(),
		scalar("ttl", fleetTTLType(), "10s", func(f *fleetDraft) *time.Duration { return &f.TTL },
			"A node that the store has not heard for so long has left the fleet.").withAliases("lease", "timeout", "lease_ttl"),
		scalar("limit_reserve", limitReserveType(), "10m", func(f *fleetDraft) *time.Duration { return &f.LimitReserve },
			"With `share = [\"limits\"]`: how long the parts of a node stay reserved for it while it is silent; 0 = until it returns or is forgotten.").withAliases("reserve", "limits_reserve"),
	}
}

func endpointsKey() key[fleetDraft] {
	return key[fleetDraft]{
		name: "endpoints", typeText: "list of URLs", defaultText: "required", aliases: []string{"endpoint", "servers", "hosts", "addresses", "urls"},
		doc: "URLs of the store's servers, such as `\"https://10.0.0.11:2379\"`; all `http` or all `https`. weir uses one at a time and the next one when it fails.",
		decode: func(d *decoder, n *tree.Node, f *fleetDraft) {
			items := d.list(n, "URLs such as [\"https://10.0.0.11:2379\"]")
			if n.Kind == tree.List && (len(items) == 0 || len(items) > maxEndpoints) {
				d.errorAt(n, "want 1 to %d URLs, got %d", maxEndpoints, len(items))
				return
			}
			for _, e := range items {
				text, _ := e.Value.(string)
				endpoint, err := parseStoreURL(text)
				switch {
				case err != nil:
					d.errorAt(e, "want a URL such as \"https://10.0.0.11:2379\", got %s", e.Describe())
				case slices.Contains(f.Endpoints, endpoint):
					d.errorAt(e, "duplicate endpoint %s", endpoint)
				case len(f.Endpoints) > 0 && isHTTPS(endpoint) != isHTTPS(f.Endpoints[0]):
					d.errorAt(e, "want endpoints with one scheme, got %s and %s", f.Endpoints[0], endpoint)
				default:
					f.Endpoints = append(f.Endpoints, endpoint)
				}
			}
		},
		show: func(f *fleetDraft) string { return strings.Join(f.Endpoints, ", ") },
	}
}

func isHTTPS(endpoint string) bool { return strings.HasPrefix(endpoint, "https:") }

// parseStoreURL returns a URL of a scheme, a host and a port only.
func parseStoreURL(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", err
	case hasBlank(text), u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Port() == "", u.User != nil, u.RawQuery != "", u.Fragment != "", strings.Trim(u.Path, "/") != "":
		return "", fmt.Errorf("invalid endpoint")
	}
	return u.Scheme + "://" + u.Host, nil
}

func shareKey() key[fleetDraft] {
	legal := oneOf(FleetShares(), map[string]string{"override": "overrides", "drains": "overrides", "limit": "limits", "configuration": "config", "revisions": "config"})
	return key[fleetDraft]{
		name: "share", typeText: "list", defaultText: `["overrides"]`, aliases: []string{"shares", "shared"},
		doc: "What the nodes share. `overrides`: what operators set at run time: overrides of servers, and servers and clusters that are added, replaced or removed. `config`: listeners and clusters, see [below](#a-shared-configuration). `limits`: `max_sessions` of servers, `max_sessions_per_source` and `max_session_rate`. Empty = only the list of nodes.",
		decode: func(d *decoder, n *tree.Node, f *fleetDraft) {
			f.Share = []string{}
			for _, e := range d.list(n, "words such as [\"overrides\"]") {
				word, ok := read(d, e, legal)
				switch {
				case !ok:
				case slices.Contains(f.Share, word):
					d.errorAt(e, "duplicate word %q", word)
				default:
					f.Share = append(f.Share, word)
				}
			}
			slices.Sort(f.Share)
		},
		show: func(f *fleetDraft) string {
			if len(f.Share) == 0 {
				return "nothing"
			}
			return strings.Join(f.Share, ", ")
		},
	}
}

func fleetPrefixType() valueType[string] {
	k := textType("prefix", func(s string) error {
		if len(s) < 2 || len(s) > maxFleetText || s[0] != '/' || strings.HasSuffix(s, "/") || strings.Contains(s, "//") || !isGraphic(s) {
			return fmt.Errorf("want a path of at most %d bytes such as \"/weir/edge\", got %s", maxFleetText, tree.Quote(s))
		}
		return nil
	})
	k.show = func(s string) string { return s }
	return k
}

func nodeNameType() valueType[string] {
	k := textType("name", func(s string) error {
		if len(s) > maxFleetText || !isGraphic(s) || strings.Contains(s, "/") {
			return fmt.Errorf("want a name of at most %d bytes without blanks and slashes, got %s", maxFleetText, tree.Quote(s))
		}
		return nil
	})
	k.show = func(s string) string { return s }
	return k
}

// isGraphic reports whether a text has printable ASCII characters only, and no blank.
func isGraphic(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// fleetTTLType is the time of a lease: etcd grants whole seconds, and not less than about two.
func fleetTTLType() valueType[time.Duration] {
	k := positiveDuration()
	parse := k.parse
	k.text = "duration from 2s to 5m"
	k.parse = func(n *tree.Node) (time.Duration, error) {
		d, err := parse(n)
		if err != nil || d < 2*time.Second || d > 5*time.Minute || d%time.Second != 0 {
			return 0, fmt.Errorf("want whole seconds from \"2s\" to \"5m\", got %s", n.Describe())
		}
		return d, nil
	}
	return k
}

// limitReserveType is a time that is much longer than a call of the store takes.
func limitReserveType() valueType[time.Duration] {
	k := durationOrZero()
	parse := k.parse
	k.text = "duration of at least 5s, or 0"
	k.parse = func(n *tree.Node) (time.Duration, error) {
		d, err := parse(n)
		if err == nil && d != 0 && d < 5*time.Second {
			return 0, fmt.Errorf("want at least \"5s\", or \"0s\", got %s", n.Describe())
		}
		return d, err
	}
	return k
}

// finishFleet validates the keys of [fleet] together.
func (d *decoder) finishFleet(all *draft) {
	f := &all.fleet
	if f.node == nil {
		return
	}
	at := func(name string) *tree.Node { return all.setOnce["fleet."+name] }
	if at("endpoints") == nil {
		d.errorMissing(f.node, "endpoints", "[fleet] requires endpoints")
	}
	if at("share") == nil {
		f.Share = []string{"overrides"}
	}
	if len(f.Endpoints) > 0 {
		f.TLS.On = isHTTPS(f.Endpoints[0])
	}
	password := f.Password.File != "" || f.Password.Env != ""
	switch {
	case f.Password.File != "" && f.Password.Env != "":
		d.errorAtKey(at("password_env"), "password_file and password_env exclude each other")
	case f.User != "" && !password && !d.incomplete:
		d.errorAtKey(at("user"), "user requires password_file or password_env")
	case f.User == "" && f.Password.File != "":
		d.errorAtKey(at("password_file"), "password_file requires user")
	case f.User == "" && f.Password.Env != "":
		d.errorAtKey(at("password_env"), "password_env requires user")
	}
	switch {
	case f.TLS.CertFile != "" && f.TLS.KeyFile == "" && at("tls_key_file") == nil:
		d.errorAtKey(at("tls_cert_file"), "tls_cert_file requires tls_key_file")
	case f.TLS.KeyFile != "" && f.TLS.CertFile == "" && at("tls_cert_file") == nil:
		d.errorAtKey(at("tls_key_file"), "tls_key_file requires tls_cert_file")
	}
	for _, name := range []string{"tls_server_name", "tls_ca_file", "tls_cert_file", "tls_key_file"} {
		if n := at(name); n != nil && n.Value != "" && len(f.Endpoints) > 0 && !f.TLS.On {
			d.errorAtKey(n, "%s requires https endpoints", name)
		}
	}
}

// diffFleet compares the [fleet] tables.
func (w *differ) diffFleet(running, wanted *Fleet) {
	show := func(f *Fleet) string {
		return fmt.Sprintf("node %s in %s at %s", orHostName(f.Node), f.Prefix, strings.Join(f.Endpoints, ", "))
	}
	switch {
	case running == nil && wanted == nil:
	case running == nil:
		w.steps = append(w.steps, PlanStep{Action: Add, Object: ObjectFleet, Note: show(wanted)})
	case wanted == nil:
		w.steps = append(w.steps, PlanStep{Action: Remove, Object: ObjectFleet, Note: show(running)})
	default:
		processSteps(w, ObjectFleet, w.schema.fleet, fleetDraft{Fleet: *running}, fleetDraft{Fleet: *wanted})
	}
}

func orHostName(node string) string {
	if node == "" {
		return "named by the host"
	}
	return node
}
