package conf

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/conf/internal/tree"
)

// Options of checks that only some types take.

// onlyIn restricts a key to some types of its table, separated by spaces, and begins its text with them.
func onlyIn[T any](types string, k key[T]) key[T] {
	k.types = strings.Fields(types)
	k.doc = strings.Join(k.types, ", ") + ": " + k.doc
	return k
}

const (
	httpTypes  = "http agent_http"
	loginTypes = "redis mysql pgsql"
	sqlTypes   = "mysql pgsql"
	agentTypes = "agent agent_http"
	tlsTypes   = "tcp http redis mysql pgsql agent agent_http"
)

func optionKeys() []key[checkDraft] {
	return slices.Concat(loginKeys(), replicationKeys(), tlsKeys(), []key[checkDraft]{
		onlyIn("exec", commandKey().hideValue()),
		onlyIn("tcp", scalar("quiet", booleanType(), "false", func(c *checkDraft) *bool { return &c.Quiet },
			"for a check that only connects: close the connection before the server's program sees it.")),
		onlyIn(agentTypes, scalar("ttl", durationOrZero(), "0s", func(c *checkDraft) *time.Duration { return &c.TTL },
			"how long the advice of an agent is valid without a new reply; should not be shorter than `interval`. 0 = forever.")),
	})
}

func loginKeys() []key[checkDraft] {
	return []key[checkDraft]{
		onlyIn(loginTypes, scalar("user", orEmpty(plainTextType()), "", func(c *checkDraft) *string { return &c.User },
			"user to log in as.").withAliases("username")),
		onlyIn(loginTypes, scalar("password", orEmpty(secretType()), "", func(c *checkDraft) *string { return &c.Password.Value },
			"the password itself.").withAliases("pass", "auth", "secret").hideValue()),
		onlyIn(loginTypes, scalar("password_file", orEmpty(inputFileType()), "", func(c *checkDraft) *string { return &c.Password.File },
			"file with the password; a byte order mark and one line end after the password are ignored.")),
		onlyIn(loginTypes, scalar("password_env", orEmpty(plainTextType()), "", func(c *checkDraft) *string { return &c.Password.Env },
			"environment variable of weir with the password.")),
		onlyIn(sqlTypes, scalar("database", orEmpty(plainTextType()), "", func(c *checkDraft) *string { return &c.Database },
			"database to log in to.").withDefaultText("none; pgsql: the user's name").withAliases("db", "schema")),
		onlyIn("mysql", scalar("server_public_key_file", orEmpty(inputFileType()), "", func(c *checkDraft) *string { return &c.ServerKeyFile },
			"file with the server's RSA key (PEM). Without TLS, a server that asks for the password itself gets it encrypted with this key.")),
		onlyIn("mysql", scalar("allow_public_key", booleanType(), "false", func(c *checkDraft) *bool { return &c.AllowPublicKey },
			"without TLS and `server_public_key_file`: encrypt the password with the key that the server sends. Any program that answers at the address of the server can then read the password.")),
	}
}

func replicationKeys() []key[checkDraft] {
	roles := oneOf([]string{"primary", "replica"}, map[string]string{"master": "primary", "slave": "replica", "writer": "primary", "reader": "replica"})
	return []key[checkDraft]{
		onlyIn(loginTypes, scalar("role", orEmpty(roles), "", func(c *checkDraft) *string { return &c.Role },
			"required role of the server: `primary` (mysql: not read only; pgsql: not in recovery and not read only) or `replica` (mysql: its replication runs; pgsql: in recovery).")),
		onlyIn(loginTypes, scalar("max_lag", durationOrZero(), "0s", func(c *checkDraft) *time.Duration { return &c.MaxLag },
			"maximum replication lag, redis: time since the replica last heard from its primary, in whole seconds; mysql: in whole seconds; pgsql: age of the last replayed transaction, or 0 when everything received is replayed. 0 = no limit.")),
		onlyIn("redis", scalar("allow_stale", booleanType(), "false", func(c *checkDraft) *bool { return &c.AllowStale },
			"accept a replica whose link to its primary is down.")),
		onlyIn("mysql", scalar("galera", booleanType(), "false", func(c *checkDraft) *bool { return &c.Galera },
			"require a ready server that is synced with the primary component of a Galera cluster.").withAliases("wsrep")),
		onlyIn("mysql", scalar("allow_donor", booleanType(), "false", func(c *checkDraft) *bool { return &c.AllowDonor },
			"with `galera`: accept a donor.")),
		onlyIn(sqlTypes, scalar("query", orEmpty(plainTextType()), "", func(c *checkDraft) *string { return &c.Query },
			"query whose first value must not be 0, empty or NULL (pgsql: nor false).").hideValue()),
	}
}

func tlsKeys() []key[checkDraft] {
	return []key[checkDraft]{
		onlyIn(tlsTypes, scalar("tls", booleanType(), "false", func(c *checkDraft) *bool { return &c.TLS.On },
			"use TLS (mysql: after the greeting; pgsql: after an SSLRequest).").withAliases("ssl")),
		onlyIn(tlsTypes, scalar("tls_server_name", orEmpty(plainTextType()), "", func(c *checkDraft) *string { return &c.TLS.ServerName },
			"server name to send (SNI) and to verify.").withDefaultText("the host's name").withAliases("sni", "server_name")),
		onlyIn(tlsTypes, scalar("tls_ca_file", orEmpty(inputFileType()), "", func(c *checkDraft) *string { return &c.TLS.CAFile },
			"file with trusted certificates (PEM).").withDefaultText("the system's").withAliases("ca_file", "cafile")),
		onlyIn(tlsTypes, scalar("tls_cert_file", orEmpty(inputFileType()), "", func(c *checkDraft) *string { return &c.TLS.CertFile },
			"file with the certificate of the check and its chain (PEM), for servers that require one. A reload reads it again.").withDefaultText("none").withAliases("cert_file", "tls_cert")),
		onlyIn(tlsTypes, scalar("tls_key_file", orEmpty(inputFileType()), "", func(c *checkDraft) *string { return &c.TLS.KeyFile },
			"file with the key of `tls_cert_file` (PEM).").withDefaultText("none").withAliases("key_file", "tls_key")),
		onlyIn(tlsTypes, scalar("tls_skip_verify", booleanType(), "false", func(c *checkDraft) *bool { return &c.TLS.SkipVerify },
			"accept any certificate.").withAliases("insecure", "skip_verify")),
	}
}

func commandKey() key[checkDraft] {
	return key[checkDraft]{
		name: "command", typeText: "list of strings", aliases: []string{"program", "script", "exec"},
		doc: "program and arguments; run without a shell.",
		decode: func(d *decoder, n *tree.Node, c *checkDraft) {
			c.Command = decodeCommand(d, n, "/usr/bin/check")
		},
		show: func(c *checkDraft) string { return fmt.Sprintf("%q", c.Command) },
	}
}

// decodeCommand decodes a program and its arguments. It returns nil on an error.
func decodeCommand(d *decoder, n *tree.Node, example string) (command []string) {
	if n.Kind != tree.List || len(n.Items) == 0 {
		d.errorAt(n, "want a program and its arguments such as [%q, \"-q\"], got %s", example, n.Describe())
		return nil
	}
	for i, e := range n.Items {
		if s, ok := read(d, e, plainTextType()); ok {
			if i == 0 && s == "" {
				d.errorAt(e, "empty program name")
			}
			command = append(command, s)
		}
	}
	return command
}

// finishOptions validates the options in the table n together and against the type of the check.
func finishOptions(d *decoder, n *tree.Node, c *checkDraft) {
	if c.Type == "" {
		return // reported already
	}
	taken := true
	for _, k := range d.schema.check {
		if at := n.Get(k.name); at != nil && k.types != nil && !slices.Contains(k.types, c.Type) {
			d.errorAtKey(at, "%s applies to %s checks; this is %s", k.name, joinWords(k.types, "and"), checkWithArticle(c.Type))
			taken = false
		}
	}
	if !taken {
		return // the type may be what is wrong
	}
	finishSecret(d, n)
	finishTLS(d, n, c.TLS)
	switch c.Type {
	case "http", "agent_http":
		finishHTTP(c)
	case "mysql":
		finishSQL(d, n, c, "the greeting is read")
	case "pgsql":
		finishSQL(d, n, c, "the server's answer to an SSLRequest is read")
	case "exec":
		if n.Get("command") == nil {
			d.errorMissing(n, "command", "exec check requires command")
		}
	case "tcp":
		if at := n.Get("quiet"); c.Quiet && (len(c.Steps) > 0 || c.TLS.On) {
			d.errorAt(at, "quiet does not apply to checks that send, expect or use TLS")
		}
	}
	if at := n.Get("max_lag"); c.MaxLag > 0 && c.Role == "primary" {
		d.errorAt(at, "max_lag does not apply to role primary")
	}
	if slices.Contains(strings.Fields(agentTypes), c.Type) {
		finishAgent(d, n, c)
	}
}

func finishSecret(d *decoder, n *tree.Node) {
	var first *tree.Node
	for _, name := range []string{"password", "password_file", "password_env"} {
		at := n.Get(name)
		switch {
		case at == nil || at.Value == "":
		case first != nil:
			d.errorAtKey(at, "%s and %s exclude each other", first.Name, name)
		default:
			first = at
		}
	}
}

// finishTLS validates the keys of TLS together.
func finishTLS(d *decoder, n *tree.Node, c TLS) {
	switch cert, key := n.Get("tls_cert_file"), n.Get("tls_key_file"); {
	case c.CertFile != "" && c.KeyFile == "" && key == nil:
		d.errorAtKey(cert, "tls_cert_file requires tls_key_file")
	case c.KeyFile != "" && c.CertFile == "" && cert == nil:
		d.errorAtKey(key, "tls_key_file requires tls_cert_file")
	}
	on := n.Get("tls")
	if c.On || on != nil && on.Value != false || n.Get("url") != nil {
		return // url sets TLS too, and reports contradictions itself
	}
	for _, name := range []string{"tls_server_name", "tls_ca_file", "tls_cert_file", "tls_key_file", "tls_skip_verify"} {
		if at := n.Get(name); at != nil && at.Value != "" && at.Value != false {
			d.errorAtKey(at, "%s requires tls = true", name)
		}
	}
}

// finishSQL validates the options of a mysql or pgsql check. without is what the check does without a user.
func finishSQL(d *decoder, n *tree.Node, c *checkDraft, without string) {
	if user := n.Get("user"); user == nil || user.Value == "" {
		for _, name := range []string{
			"password", "password_file", "password_env", "database", "role", "max_lag", "galera", "allow_donor", "query",
			"server_public_key_file", "allow_public_key",
		} {
			if at := n.Get(name); at != nil && at.Value != "" && at.Value != false && at.Value != "0s" {
				d.errorAtKey(at, "%s requires user; without it only %s", name, without)
			}
		}
		return
	}
	if at := n.Get("allow_donor"); c.AllowDonor && !c.Galera {
		d.errorAtKey(at, "allow_donor requires galera = true")
	}
}

func finishAgent(d *decoder, n *tree.Node, c *checkDraft) {
	switch port := n.Get("port"); {
	case c.Port != 0 || n.Get("url") != nil:
	case port == nil && c.Type == "agent_http":
		d.errorMissing(n, "port", "agent_http check requires port, or a url with a port")
	case port == nil:
		d.errorMissing(n, "port", "agent check requires port: the port of the agent, not of the server")
	case port.Value == int64(0):
		d.errorAt(port, "agent check requires port: the port of the agent, not of the server")
	}
	if at := n.Get("ttl"); c.TTL > 0 && c.TTL < c.Interval {
		d.warn(at, "ttl %s is shorter than interval %s: advice expires before the next check", showDuration(c.TTL), showDuration(c.Interval))
	}
}

// joinWords joins words with commas and, before the last word, last.
func joinWords(words []string, last string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " " + last + " " + words[n-1]
	}
	return strings.Join(words, "")
}

// checkWithArticle formats a type of checks, as in "an exec check".
func checkWithArticle(kind string) string {
	if strings.ContainsRune("aeiouh", rune(kind[0])) && kind != "udp" {
		return "an " + kind + " check"
	}
	return "a " + kind + " check"
}
