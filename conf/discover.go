package conf

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"weir/conf/internal/tree"
)

// Discover is a provider of servers: servers of a level that come from outside the file.
type Discover struct {
	Type        string        // one of DiscoverTypes
	Interval    time.Duration // between two questions
	Timeout     time.Duration // of one question
	KeepOnEmpty bool          // an answer without servers keeps the last ones
	Server      Server        // options of the servers found; without name and address

	Path      string   // file, nginx: never empty
	URL       string   // http; it may hold a secret
	Headers   []Header // http, in file order
	TokenFile string   // http: bearer token; "" = none
	TLS       TLS      // http: On if the URL is https
	Command   []string // exec: program and arguments

	Name      string    // dns: never empty
	Record    string    // dns: srv or a
	Port      int       // dns: of servers of record a; ≥ 1
	Resolvers []Address // dns: IP addresses; empty = the system's

	Upstream   string // nginx: name of the block
	OnlyBackup bool   // nginx: the backup servers, instead of the others

	Address    Address // consul: of its API; a host name or an IP address
	Service    string  // consul: never empty
	Tag        string  // consul; "" = any
	Datacenter string  // consul; "" = that of the agent
}

// DiscoverTypes returns the legal types of providers.
func DiscoverTypes() []string { return []string{"dns", "file", "http", "exec", "consul", "nginx"} }

// Source identifies what is asked: answers of another source do not apply. It may hold a secret.
func (p *Discover) Source() string {
	return fmt.Sprintf("%s %q", p.Type, slices.Concat([]string{p.Path, p.URL, p.Name, p.Record, fmt.Sprint(p.Port), p.Upstream, fmt.Sprint(p.OnlyBackup), p.Address.String(), p.Service, p.Tag, p.Datacenter}, p.Command))
}

// String describes the source without its secrets.
func (p *Discover) String() string {
	switch p.Type {
	case "file":
		return "file " + p.Path
	case "http":
		if u, err := url.Parse(p.URL); err == nil {
			return "http " + u.Scheme + "://" + u.Host
		}
	case "exec":
		if len(p.Command) > 0 {
			return "exec " + p.Command[0]
		}
	case "dns":
		return "dns " + strings.ToUpper(p.Record) + " " + p.Name
	case "consul":
		return "consul " + p.Address.String() + " " + p.Service
	case "nginx":
		return "nginx " + p.Path + " " + p.Upstream
	}
	return p.Type
}

// discoverDraft is a provider with the position of its table.
type discoverDraft struct {
	Discover
	node *tree.Node
}

// providerOption restricts a key of a provider to some types, separated by spaces.
func providerOption(types string, k key[discoverDraft]) key[discoverDraft] {
	k.types = strings.Fields(types)
	k.doc = strings.Join(k.types, ", ") + ": " + k.doc
	return k
}

func discoverKeys() []key[discoverDraft] {
	typeWords := map[string]string{
		"file_sd": "file", "files": "file", "json": "file", "http_sd": "http", "https": "http", "url": "http", "command": "exec", "script": "exec", "program": "exec",
		"srv": "dns", "dns_srv": "dns", "a": "dns", "consul_sd": "consul", "upstream": "nginx", "nginx_upstream": "nginx",
	}
	const tlsProviders = "http consul"
	return []key[discoverDraft]{
		scalar("type", oneOf(DiscoverTypes(), typeWords), "", func(p *discoverDraft) *string { return &p.Type },
			"Where servers come from: `dns` SRV or address records, `file` a JSON file as of Prometheus `file_sd`, `http` the same JSON from a URL, `exec` the same JSON on the standard output of a program, `consul` the passing instances of a service, `nginx` an `upstream` block of a configuration of nginx.").required().withAliases("kind", "provider"),
		scalar("interval", positiveDuration(), "10s", func(p *discoverDraft) *time.Duration { return &p.Interval },
			"How often the provider is asked, with ±10 % jitter. A changed file is read within a second.").withAliases("refresh", "refresh_interval", "period", "every"),
		scalar("timeout", positiveDuration(), "5s", func(p *discoverDraft) *time.Duration { return &p.Timeout },
			"Timeout of one question. A start, and a reload with a new provider, wait so long at most for the first answer."),
		scalar("keep_on_empty", booleanType(), "true", func(p *discoverDraft) *bool { return &p.KeepOnEmpty },
			"An answer without servers keeps the last servers; `false` accepts it."),
		discoverServerKey(),
		providerOption("file nginx", scalar("path", orEmpty(plainTextType()), "", func(p *discoverDraft) *string { return &p.Path },
			"path of the file; nginx: of the configuration, usually `/etc/nginx/nginx.conf`, whose includes are read. Required.").withAliases("file", "files")),
		providerOption("http", scalar("url", orEmpty(discoverURLType()), "", func(p *discoverDraft) *string { return &p.URL },
			"URL of the list, `http` or `https`. Required.").withTypeText("URL").withAliases("address", "endpoint").hideValue()),
		providerOption("http consul", key[discoverDraft]{
			name: "headers", typeText: "table or list of strings", aliases: []string{"header"},
			doc: "additional header lines, as of an http check.",
			decode: func(d *decoder, n *tree.Node, p *discoverDraft) {
				var c checkDraft
				headersKey().decode(d, n, &c)
				p.Headers = c.Headers
			},
			show:   func(p *discoverDraft) string { return headersKey().show(&checkDraft{Check: Check{Headers: p.Headers}}) },
			secret: true,
		}),
		providerOption("http consul", scalar("token_file", orEmpty(inputFileType()), "", func(p *discoverDraft) *string { return &p.TokenFile },
			"file with a token, which is sent as `Authorization: Bearer`, consul: as `X-Consul-Token`. Read again for each question.").withAliases("bearer_token_file", "credentials_file")),
		providerOption("consul", scalar("tls", booleanType(), "false", func(p *discoverDraft) *bool { return &p.TLS.On },
			"use HTTPS.").withAliases("ssl")),
		providerOption(tlsProviders, scalar("tls_server_name", orEmpty(plainTextType()), "", func(p *discoverDraft) *string { return &p.TLS.ServerName },
			"server name to send (SNI) and to verify.").withDefaultText("the host's name").withAliases("sni", "server_name")),
		providerOption(tlsProviders, scalar("tls_ca_file", orEmpty(inputFileType()), "", func(p *discoverDraft) *string { return &p.TLS.CAFile },
			"file with trusted certificates (PEM).").withDefaultText("the system's").withAliases("ca_file", "cafile")),
		providerOption(tlsProviders, scalar("tls_cert_file", orEmpty(inputFileType()), "", func(p *discoverDraft) *string { return &p.TLS.CertFile },
			"file with weir's certificate and its chain (PEM), for servers that require one.").withDefaultText("none").withAliases("cert_file", "tls_cert")),
		providerOption(tlsProviders, scalar("tls_key_file", orEmpty(inputFileType()), "", func(p *discoverDraft) *string { return &p.TLS.KeyFile },
			"file with the key of `tls_cert_file` (PEM).").withDefaultText("none").withAliases("key_file", "tls_key")),
		providerOption(tlsProviders, scalar("tls_skip_verify", booleanType(), "false", func(p *discoverDraft) *bool { return &p.TLS.SkipVerify },
			"accept any certificate.").withAliases("insecure", "skip_verify")),
		providerOption("exec", key[discoverDraft]{
			name: "command", typeText: "list of strings", aliases: []string{"program", "script", "exec"}, secret: true,
			doc: "program and arguments, run without a shell as weir's user, with `WEIR_CLUSTER` and `WEIR_LEVEL`. Killed after `timeout` with what it has started. Required.",
			decode: func(d *decoder, n *tree.Node, p *discoverDraft) {
				p.Command = decodeCommand(d, n, "/usr/local/bin/servers")
			},
			show: func(p *discoverDraft) string { return fmt.Sprintf("%q", p.Command) },
		}),
		providerOption("dns", scalar("name", orEmpty(hostNameType()), "", func(p *discoverDraft) *string { return &p.Name },
			"name to look up, such as `_mysql._tcp.db.example.com`; always a full name. Required.").withAliases("host", "hostname", "domain")),
		providerOption("dns", scalar("record", oneOf([]string{"srv", "a"}, map[string]string{"aaaa": "a", "SRV": "srv", "A": "a", "AAAA": "a"}), "srv", func(p *discoverDraft) *string { return &p.Record },
			"`srv`: SRV records, with port and weight, of the lowest priority only; `a`: one server for each A and AAAA record.").withAliases("record_type", "qtype")),
		providerOption("dns", scalar("port", integerType(1, 65535), "", func(p *discoverDraft) *int { return &p.Port },
			"port of the servers with `record = \"a\"`, where it is required.").withDefaultText("none")),
		providerOption("dns", resolversKey()),
		providerOption("nginx", scalar("upstream", orEmpty(plainTextType()), "", func(p *discoverDraft) *string { return &p.Upstream },
			"name of the `upstream` block. Required.").withAliases("block")),
		providerOption("nginx", scalar("only_backup", booleanType(), "false", func(p *discoverDraft) *bool { return &p.OnlyBackup },
			"the `backup` servers of the block only, instead of all others: for a second level.").withAliases("upstream_only_backup", "backup")),
		providerOption("consul", scalar("address", serverAddressType(), "127.0.0.1:8500", func(p *discoverDraft) *Address { return &p.Address },
			"address of Consul's HTTP API.").withAliases("server", "host", "addr")),
		providerOption("consul", scalar("service", orEmpty(plainTextType()), "", func(p *discoverDraft) *string { return &p.Service },
			"name of the service. Required.").withAliases("service_name")),
		providerOption("consul", scalar("tag", orEmpty(plainTextType()), "", func(p *discoverDraft) *string { return &p.Tag },
			"only instances with this tag.").withDefaultText("any").withAliases("tags")),
		providerOption("consul", scalar("datacenter", orEmpty(plainTextType()), "", func(p *discoverDraft) *string { return &p.Datacenter },
			"data centre to ask about.").withDefaultText("that of the agent").withAliases("dc")),
	}
}

// hostNameType is a host name, not an IP address.
func hostNameType() valueType[string] {
	k := textType("host name", func(s string) error {
		if err := validateHost(s); err != nil {
			return fmt.Errorf("want a name such as \"_mysql._tcp.db.example.com\", got %s", tree.Quote(s))
		}
		return nil
	})
	k.show = func(s string) string { return s }
	return k
}

// maxResolvers limits the resolvers of a provider.
const maxResolvers = 16

func resolversKey() key[discoverDraft] {
	return key[discoverDraft]{
		name: "resolvers", typeText: "list of addresses", defaultText: "those of `/etc/resolv.conf`", aliases: []string{"resolver", "nameservers", "servers"},
		doc: "DNS servers to ask, in order, as IP addresses with or without a port.",
		decode: func(d *decoder, n *tree.Node, p *discoverDraft) {
			switch {
			case n.Kind != tree.List:
				d.errorAt(n, "want a list of addresses such as [\"10.0.0.53\"], got %s", n.Describe())
				return
			case len(n.Items) > maxResolvers:
				d.errorAt(n, "want at most %d resolvers, got %d", maxResolvers, len(n.Items))
				return
			}
			for _, e := range n.Items {
				text, _ := e.Value.(string)
				if ip, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
					at := netip.AddrPortFrom(ip.Unmap(), 53)
					p.Resolvers = append(p.Resolvers, Address{Addr: at, Port: 53})
					continue
				}
				at, ok := read(d, e, serverAddressType())
				if ok && !at.Addr.IsValid() {
					d.errorAt(e, "want an IP address such as \"10.0.0.53\", got %s", e.Describe())
					ok = false
				}
				if ok {
					p.Resolvers = append(p.Resolvers, at)
				}
			}
		},
		show: func(p *discoverDraft) string {
			texts := make([]string, len(p.Resolvers))
			for i, at := range p.Resolvers {
				texts[i] = at.String()
			}
			return strings.Join(texts, ", ")
		},
	}
}

// discoverURLType is a URL that may contain a secret, so no message shows it.
func discoverURLType() valueType[string] {
	const want = "URL such as \"https://sd.example.com/servers\""
	k := textType(want, func(s string) error {
		u, err := url.Parse(s)
		if err != nil || hasBlank(s) || u.Opaque != "" || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return errors.New("want a " + want)
		}
		return nil
	})
	k.secret = true
	k.text = want
	k.show = func(s string) string { return s }
	return k
}

// discoverServerKey is the table of options of the servers found. It is decoded on top of the cluster's defaults.
func discoverServerKey() key[discoverDraft] {
	return table("server", "Options of every server found, as `{ max_fails = 2 }`: all keys of a server but `address`, `port` and `name`. What the provider gives for a server comes first.",
		func(d *decoder, n *tree.Node, p *discoverDraft) {
			for _, name := range []string{"address", "port", "name"} {
				if own := n.Get(name); own != nil {
					d.errorAtKey(own, "the provider gives the addresses and names of its servers")
					n.Delete(name)
				}
			}
			decodePresent(d, n, discoveredServerKeys(d.schema.server), &p.Server)
		})
}

// decodeDiscover decodes the table of a provider.
func decodeDiscover(d *decoder, n *tree.Node, l *levelDraft) {
	p := discoverDraft{node: n}
	p.Server = l.inherit
	setDefaults(discoveredServerKeys(d.schema.server), &p.Server)
	decodeTable(d, n, d.schema.discover, &p)
	l.Discover = &p.Discover
	l.discover = &p
	if p.Type == "" {
		return // reported already
	}
	for _, k := range d.schema.discover {
		if at := n.Get(k.name); at != nil && k.types != nil && !slices.Contains(k.types, p.Type) {
			d.errorAtKey(at, "%s applies to %s providers; this is %s", k.name, joinWords(k.types, "and"), providerWithArticle(p.Type))
		}
	}
	if p.Type != "dns" {
		p.Record = ""
	}
	if p.Type != "consul" {
		p.Address = Address{}
	}
	switch p.Type {
	case "file":
		requireOption(d, n, "path", "a file provider requires path, the file to read")
	case "http":
		requireOption(d, n, "url", "an http provider requires url")
		p.TLS.On = strings.HasPrefix(p.URL, "https:")
		finishProviderTLS(d, n, &p, "an https URL")
	case "dns":
		finishDNS(d, n, &p)
	case "nginx":
		requireOption(d, n, "path", "an nginx provider requires path, the configuration to read")
		requireOption(d, n, "upstream", "an nginx provider requires upstream, the name of the block")
	case "consul":
		requireOption(d, n, "service", "a consul provider requires service, the name of the service")
		if at := n.Get("address"); p.Address.Path != "" {
			d.errorAt(at, "want a TCP address such as \"127.0.0.1:8500\", got %s", at.Describe())
		}
		finishProviderTLS(d, n, &p, "tls = true")
	case "exec":
		if n.Get("command") == nil {
			d.errorMissing(n, "command", "an exec provider requires command, the program to run")
		}
	}
}

func providerWithArticle(kind string) string {
	if kind == "exec" || kind == "http" || kind == "nginx" {
		return "an " + kind + " provider"
	}
	return "a " + kind + " provider"
}

func finishDNS(d *decoder, n *tree.Node, p *discoverDraft) {
	requireOption(d, n, "name", "a dns provider requires name")
	switch at := n.Get("port"); {
	case p.Record == "a" && at == nil:
		d.errorMissing(n, "port", "record = \"a\" requires port: address records have none")
	case p.Record == "srv" && at != nil:
		d.errorAtKey(at, "port does not apply to record = \"srv\": the records have ports")
	}
}

// requireOption reports a missing or empty key of a provider.
func requireOption(d *decoder, n *tree.Node, name, text string) {
	switch at := n.Get(name); {
	case at == nil:
		d.errorMissing(n, name, "%s", text)
	case at.Value == "":
		d.errorAt(at, "%s", text)
	}
}

// finishProviderTLS validates the keys about TLS together. without TLS, which on turns on, they do not apply.
func finishProviderTLS(d *decoder, n *tree.Node, p *discoverDraft, on string) {
	switch cert, key := n.Get("tls_cert_file"), n.Get("tls_key_file"); {
	case p.TLS.CertFile != "" && p.TLS.KeyFile == "" && key == nil:
		d.errorAtKey(cert, "tls_cert_file requires tls_key_file")
	case p.TLS.KeyFile != "" && p.TLS.CertFile == "" && cert == nil:
		d.errorAtKey(key, "tls_key_file requires tls_cert_file")
	}
	if p.TLS.On || p.Type == "http" && p.URL == "" {
		return
	}
	for _, name := range []string{"tls_server_name", "tls_ca_file", "tls_cert_file", "tls_key_file", "tls_skip_verify"} {
		if at := n.Get(name); at != nil && at.Value != "" && at.Value != false {
			d.errorAtKey(at, "%s requires %s", name, on)
		}
	}
}

// Discovers reports whether servers of a level of the cluster come from a provider.
func (c *Cluster) Discovers() bool {
	return slices.ContainsFunc(c.Levels, func(l Level) bool { return l.Discover != nil })
}

// FoundServer is a server that a provider names. Options are texts of keys of a server.
type FoundServer struct {
	Address string            `json:"address"` // host:port with an IP address or a host name
	Options map[string]string `json:"options,omitempty"`
}

// FoundOptions returns the keys of a server that a provider may set.
func FoundOptions() []string {
	return []string{"weight", "name", "max_sessions", "state", "max_fails", "fail_timeout"}
}

// Servers returns the servers of a list that a provider has found, and the error of each that cannot be used, both in the
// order of the list: a server without an error has a nil one. Of two servers with one name or address, the first counts.
func (p *Discover) Servers(found []FoundServer) (servers []Server, errs []error) {
	d := newDecoder()
	names, addresses := make(map[string]bool, len(found)), make(map[Address]bool, len(found))
	for _, f := range found {
		s, err := p.server(d, f)
		switch {
		case err != nil:
		case addresses[s.Address]:
			err = errors.New("listed twice")
		case names[s.Name]:
			err = fmt.Errorf("another server of the list has the name %s", tree.Quote(s.Name))
		default:
			names[s.Name], addresses[s.Address] = true, true
		}
		servers, errs = append(servers, s), append(errs, err)
	}
	return servers, errs
}

// server returns the server of one entry.
func (p *Discover) server(d *decoder, f FoundServer) (Server, error) {
	file := &tree.File{Name: "answer", Text: []byte("\n")}
	n := &tree.Node{File: file, Kind: tree.Table}
	add := func(name, value string) {
		n.Keys = append(n.Keys, &tree.Node{File: file, Value: value, InString: true, Parent: n, Name: name})
	}
	add("address", f.Address)
	for _, name := range FoundOptions() {
		if value, ok := f.Options[name]; ok {
			add(name, value)
		}
	}
	s := p.Server
	d.errs = d.errs[:0]
	decodePresent(d, n, d.schema.server, &s)
	if len(d.errs) == 0 {
		finishServer(d, n, &s)
	}
	if len(d.errs) > 0 {
		e := d.errs[0]
		return s, errors.New(strings.TrimPrefix(cmp.Or(e.Path+": ", ": ")+e.Msg, ": "))
	}
	if s.Address.Path != "" {
		return s, errors.New("a unix socket")
	}
	return s, nil
}

// discoverDetails compares the providers of a level.
func (w *differ) discoverDetails(a, b *Discover, level string) []Detail {
	kind := func(p *Discover) string {
		if p == nil {
			return "none"
		}
		return p.Type
	}
	if a == nil || b == nil {
		if a == b {
			return nil
		}
		return []Detail{{Key: "discover", Level: level, From: kind(a), To: kind(b)}}
	}
	out := changes(w.schema.discover, discoverDraft{Discover: *a}, discoverDraft{Discover: *b})
	for i := range out {
		out[i].Key, out[i].Level = "discover."+out[i].Key, level
	}
	for _, d := range changes(discoveredServerKeys(w.schema.server), a.Server, b.Server) {
		out = append(out, Detail{Key: "discover.server." + d.Key, Level: level, From: d.From, To: d.To})
	}
	return out
}
