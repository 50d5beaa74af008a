package conf

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The options of checks that only some types take.

// only restricts a key of a check to some types.
func only(types string, k key[checkDraft]) key[checkDraft] {
	k.types = strings.Fields(types)
	k.doc = strings.Join(k.types, ", ") + ": " + k.doc
	return k
}

const (
	httpTypes  = "http agent_http"
	loginTypes = "redis mysql"
	agentTypes = "agent agent_http"
	tlsTypes   = "tcp http redis mysql agent agent_http"
)

func optionKeys() []key[checkDraft] {
	return slices.Concat(loginKeys(), replicationKeys(), tlsKeys(), []key[checkDraft]{
		only("exec", commandKey()),
		only("tcp", scalar("quiet", boolean(), "false", func(c *checkDraft) *bool { return &c.Quiet },
			"with nothing to send or to expect: end the connection before the server's program gets to see it.")),
		only(agentTypes, scalar("ttl", timeOrNone(), "0s", func(c *checkDraft) *time.Duration { return &c.TTL },
			"how long the agent's words hold when it says no more; better not shorter than `interval`. 0 = for ever.")),
	})
}

func loginKeys() []key[checkDraft] {
	return []key[checkDraft]{
		only(loginTypes, scalar("user", orNone(plainText()), "", func(c *checkDraft) *string { return &c.User },
			"who logs in.").called("username")),
		only(loginTypes, scalar("password", orNone(secretText()), "", func(c *checkDraft) *string { return &c.Password.Value },
			"the password itself.").called("pass", "auth", "secret").veiled()),
		only(loginTypes, scalar("password_file", orNone(filePath()), "", func(c *checkDraft) *string { return &c.Password.File },
			"a file that holds the password; one line end after it is not part of it.")),
		only(loginTypes, scalar("password_env", orNone(plainText()), "", func(c *checkDraft) *string { return &c.Password.Env },
			"an environment variable of weir that holds the password.")),
		only("mysql", scalar("database", orNone(plainText()), "", func(c *checkDraft) *string { return &c.Database },
			"the database to log in to.").called("db", "schema")),
	}
}

func replicationKeys() []key[checkDraft] {
	roles := oneOf([]string{"primary", "replica"}, map[string]string{"master": "primary", "slave": "replica", "writer": "primary", "reader": "replica"})
	return []key[checkDraft]{
		only(loginTypes, scalar("role", orNone(roles), "", func(c *checkDraft) *string { return &c.Role },
			"what the server has to be: a `primary` (mysql: not read only) or a `replica` (mysql: its replication runs).")),
		only(loginTypes, scalar("max_lag", timeOrNone(), "0s", func(c *checkDraft) *time.Duration { return &c.MaxLag },
			"how far a replica may be behind its primary, to the second; redis: how long since it heard from it. 0 = any.")),
		only("redis", scalar("allow_stale", boolean(), "false", func(c *checkDraft) *bool { return &c.AllowStale },
			"accept a replica whose link to its primary is down.")),
		only("mysql", scalar("galera", boolean(), "false", func(c *checkDraft) *bool { return &c.Galera },
			"the server has to be synced with a Galera cluster's primary component, and ready.").called("wsrep")),
		only("mysql", scalar("allow_donor", boolean(), "false", func(c *checkDraft) *bool { return &c.AllowDonor },
			"with `galera`: accept one that is a donor at the moment.")),
		only("mysql", scalar("query", orNone(plainText()), "", func(c *checkDraft) *string { return &c.Query },
			"a query whose first value must not be 0, empty or NULL.")),
	}
}

func tlsKeys() []key[checkDraft] {
	return []key[checkDraft]{
		only(tlsTypes, scalar("tls", boolean(), "false", func(c *checkDraft) *bool { return &c.TLS.On },
			"speak TLS (mysql: after the greeting).").called("ssl")),
		only(tlsTypes, scalar("tls_server_name", orNone(plainText()), "", func(c *checkDraft) *string { return &c.TLS.ServerName },
			"the name to ask for and to verify.").defaults("the host's").called("sni", "server_name")),
		only(tlsTypes, scalar("tls_ca_file", orNone(filePath()), "", func(c *checkDraft) *string { return &c.TLS.CAFile },
			"a file of PEM certificates to trust.").defaults("the system's").called("ca_file", "cafile")),
		only(tlsTypes, scalar("tls_skip_verify", boolean(), "false", func(c *checkDraft) *bool { return &c.TLS.SkipVerify },
			"accept any certificate.").called("insecure", "skip_verify")),
	}
}

func commandKey() key[checkDraft] {
	return key[checkDraft]{
		name: "command", form: "list of strings", words: []string{"program", "script", "exec"},
		doc: "the program and its arguments; no shell is involved.",
		decode: func(d *decoder, n *node, c *checkDraft) {
			c.Command = decodeCommand(d, n, "/usr/bin/check")
		},
		show: func(c *checkDraft) string { return fmt.Sprintf("%q", c.Command) },
	}
}

// decodeCommand is a program and its arguments; nil if it is none.
func decodeCommand(d *decoder, n *node, example string) (command []string) {
	if n.kind != nodeList || len(n.items) == 0 {
		d.fault(n, "want a program and its arguments such as [%q, \"-q\"], got %s", example, n.got())
		return nil
	}
	for i, e := range n.items {
		if s, ok := read(d, e, plainText()); ok {
			if i == 0 && s == "" {
				d.fault(e, "an empty program")
			}
			command = append(command, s)
		}
	}
	return command
}

// finishOptions checks what the options in the table n mean together and for the check's type.
func finishOptions(d *decoder, n *node, c *checkDraft) {
	if c.Type == "" {
		return // unknown, and reported
	}
	taken := true
	for _, k := range d.schema.check {
		if at := n.get(k.name); at != nil && k.types != nil && !slices.Contains(k.types, c.Type) {
			d.faultKey(at, "%s is an option of %s checks, and this is %s", k.name, listed(k.types, "and"), article(c.Type))
			taken = false
		}
	}
	if !taken {
		return // the type may be what is wrong
	}
	finishSecret(d, n)
	finishTLS(d, n, c)
	switch c.Type {
	case "http", "agent_http":
		finishHTTP(c)
	case "mysql":
		finishMySQL(d, n, c)
	case "exec":
		if n.get("command") == nil {
			d.absent(n, "command", "an exec check needs command")
		}
	case "tcp":
		if at := n.get("quiet"); c.Quiet && (len(c.Steps) > 0 || c.TLS.On) {
			d.fault(at, "quiet is for checks that do nothing but connect")
		}
	}
	if at := n.get("max_lag"); c.MaxLag > 0 && c.Role == "primary" {
		d.fault(at, "max_lag is about replicas, and role is primary")
	}
	if slices.Contains(strings.Fields(agentTypes), c.Type) {
		finishAgent(d, n, c)
	}
}

func finishSecret(d *decoder, n *node) {
	var first *node
	for _, name := range []string{"password", "password_file", "password_env"} {
		at := n.get(name)
		switch {
		case at == nil || at.value == "":
		case first != nil:
			d.faultKey(at, "%s and %s exclude each other", first.name, name)
		default:
			first = at
		}
	}
}

func finishTLS(d *decoder, n *node, c *checkDraft) {
	on := n.get("tls")
	if c.TLS.On || on != nil && on.value != false || n.get("url") != nil {
		return // a url says it in its own way, and has a mistake of its own if it says otherwise
	}
	for _, name := range []string{"tls_server_name", "tls_ca_file", "tls_skip_verify"} {
		if at := n.get(name); at != nil && at.value != "" && at.value != false {
			d.faultKey(at, "%s without tls = true", name)
		}
	}
}

func finishMySQL(d *decoder, n *node, c *checkDraft) {
	if user := n.get("user"); user == nil || user.value == "" {
		for _, name := range []string{
			"password", "password_file", "password_env", "database", "role", "max_lag", "galera", "allow_donor", "query",
		} {
			if at := n.get(name); at != nil && at.value != "" && at.value != false && at.value != "0s" {
				d.faultKey(at, "%s needs user: without one only the greeting is read", name)
			}
		}
		return
	}
	if at := n.get("allow_donor"); c.AllowDonor && !c.Galera {
		d.faultKey(at, "allow_donor without galera = true")
	}
}

func finishAgent(d *decoder, n *node, c *checkDraft) {
	switch port := n.get("port"); {
	case c.Port != 0 || n.get("url") != nil:
	case port == nil && c.Type == "agent_http":
		d.absent(n, "port", "an agent_http check needs port, or a url with one")
	case port == nil:
		d.absent(n, "port", "an agent check needs port: the agent's, which is not the server's own")
	case port.value == int64(0):
		d.fault(port, "an agent check needs port: the agent's, which is not the server's own")
	}
	if at := n.get("ttl"); c.TTL > 0 && c.TTL < c.Interval {
		d.warn(at, "ttl %s is shorter than interval %s: what the agent says is forgotten before it is asked again", showDuration(c.TTL), showDuration(c.Interval))
	}
}

// listed joins words for a sentence.
func listed(words []string, last string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " " + last + " " + words[n-1]
	}
	return strings.Join(words, "")
}

// article is a type of checks in a sentence.
func article(kind string) string {
	if strings.ContainsRune("aeiouh", rune(kind[0])) && kind != "udp" {
		return "an " + kind + " check"
	}
	return "a " + kind + " check"
}
