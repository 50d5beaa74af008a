package conf

import (
	"fmt"
	"net/netip"
	"strings"

	"weir/conf/internal/tree"
)

// The [admin] table.

// DefaultAdminSocket is the default address of the API, for the daemon and for its clients.
const DefaultAdminSocket = "unix:/run/weir/admin.sock"

// MaxAPIClients is the number of connections that each address of the API accepts, and for which descriptors are reserved, unless
// the descriptor limit is too low.
const MaxAPIClients = 64

func adminKeys() []key[adminDraft] {
	return []key[adminDraft]{
		{
			name: "listen", typeText: "address or list", defaultText: DefaultAdminSocket, aliases: []string{"address", "bind", "addresses", "socket"},
			doc: "Where the API is served: unix sockets and TCP addresses (`\"127.0.0.1:9280\"`). Empty = nowhere. Without an `[admin]` " +
				"table, failing to create the default socket is only a warning.",
			setDefault: func(a *adminDraft) {
				path, _ := strings.CutPrefix(DefaultAdminSocket, "unix:")
				a.Listen = []Address{{Path: path}}
			},
			decode: decodeAdminListen,
			show: func(a *adminDraft) string {
				if len(a.Listen) == 0 {
					return "none"
				}
				return showAddresses(a.Listen)
			},
		},
		scalar("token_file", inputFileType(), "", func(a *adminDraft) *string { return &a.TokenFile },
			"File with the token (`Authorization: Bearer …`) that clients of TCP addresses must send. Without a token or client "+
				"certificates, a TCP address only reads (`GET`), and must be a loopback address. The token has at least 16 bytes, and other "+
				"users may not read the file. Empty = none. Unix sockets are protected by their mode, 0660.").withDefaultText("`\"\"`").withAliases("token", "password_file", "bearer_token_file"),
		scalar("read_token_file", inputFileType(), "", func(a *adminDraft) *string { return &a.ReadTokenFile },
			"File with another token, which is accepted for `GET` only: status, events and metrics.").withDefaultText("`\"\"`").withAliases("metrics_token_file", "readonly_token_file"),
		scalar("tls_cert_file", inputFileType(), "", func(a *adminDraft) *string { return &a.TLSCertFile },
			"File with a certificate and its chain (PEM): TCP addresses serve HTTPS. Needs `tls_key_file`.").withDefaultText("`\"\"`").withAliases("cert_file", "certificate"),
		scalar("tls_key_file", inputFileType(), "", func(a *adminDraft) *string { return &a.TLSKeyFile },
			"File with the key of the certificate (PEM). Other users may not read it.").withDefaultText("`\"\"`").withAliases("key_file"),
		scalar("tls_client_ca_file", inputFileType(), "", func(a *adminDraft) *string { return &a.TLSClientCAFile },
			"File with authorities (PEM). Clients of TCP addresses must have a certificate of one of them, and may then make changes; "+
				"with `token_file` they also need the token. Needs `tls_cert_file`.").withDefaultText("`\"\"`").withAliases("client_ca_file", "ca_file"),
		scalar("allow_programs", booleanType(), "false", func(a *adminDraft) *bool { return &a.AllowPrograms },
			"Whether clusters and servers that requests create may run programs (`exec` checks) and name files and environment "+
				"variables of this host (keys that end in `_file` or `_env`) or its unix sockets."),
	}
}

// adminDraft is the [admin] table with the positions of its addresses.
type adminDraft struct {
	Admin
	addresses []adminAddress
}

type adminAddress struct {
	Address
	node *tree.Node
}

func decodeAdminListen(d *decoder, n *tree.Node, a *adminDraft) {
	a.Listen = nil
	entries := []*tree.Node{n}
	if n.Kind == tree.List {
		entries = n.Items
	} else if n.Value == "" {
		return
	}
	for _, e := range entries {
		at, err := parseAdminAddress(e)
		if err != nil {
			d.errorAt(e, "%s", err)
			continue
		}
		for _, old := range a.addresses {
			if old.Address == at {
				d.errorAt(e, "duplicate address %s (%s)", at, lines(old.node, e))
			}
		}
		a.Listen = append(a.Listen, at)
		a.addresses = append(a.addresses, adminAddress{at, e})
	}
}

func parseAdminAddress(n *tree.Node) (Address, error) {
	s, ok := n.Value.(string)
	if !ok {
		return Address{}, fmt.Errorf("want an address such as %q or \"127.0.0.1:9280\", got %s", DefaultAdminSocket, n.Describe())
	}
	p, err := parseAddress(s)
	switch {
	case err != nil:
		return Address{}, err
	case p.Host != "":
		return Address{}, fmt.Errorf("want an IP address to listen at, got the name %q", p.Host)
	case p.last != p.Port:
		return Address{}, fmt.Errorf("want one port, got the range in %s", tree.Quote(s))
	case p.Path == "" && !p.Addr.IsValid():
		p.Addr = allAddresses(p.Port)
	}
	return p.Address, nil
}

// validateAdminAccess validates the keys of TLS together.
func (d *decoder) validateAdminAccess(all *draft) {
	a := &all.admin
	for _, k := range []struct{ name, value, needs, given string }{
		{"tls_cert_file", a.TLSCertFile, "tls_key_file", a.TLSKeyFile},
		{"tls_key_file", a.TLSKeyFile, "tls_cert_file", a.TLSCertFile},
		{"tls_client_ca_file", a.TLSClientCAFile, "tls_cert_file", a.TLSCertFile},
	} {
		if n := all.setOnce["admin."+k.name]; n != nil && k.value != "" && k.given == "" && !d.incomplete {
			d.errorAtKey(n, "%s requires %s", k.name, k.needs)
		}
	}
}

// validateAdminAddresses requires a credential for addresses other than loopback, warns about loopback addresses without one,
// and rejects addresses of listeners.
func (d *decoder) validateAdminAddresses(all *draft) {
	type owned struct {
		at   netip.AddrPort
		path string
	}
	taken := make(map[owned]*listenerDraft)
	for i := range all.listeners {
		l := &all.listeners[i]
		for _, a := range l.Addresses {
			if l.Protocol == "tcp" {
				taken[owned{a.Addr, a.Path}] = l
			}
		}
	}
	for _, a := range all.admin.addresses {
		if l := taken[owned{a.Addr, a.Path}]; l != nil {
			d.errorAt(a.node, "duplicate address %s: also used by listener %s (%s)", a.Address, l.Name, line(l.node.Get("address"), a.node))
		}
		credentials := all.admin.TokenFile + all.admin.ReadTokenFile + all.admin.TLSClientCAFile
		switch {
		case a.Path != "" || credentials != "" || d.incomplete:
		case a.Addr.Addr().IsLoopback():
			d.warn(a.node, "%s has no token: every user of this host can read status, events and metrics there; "+
				"set read_token_file or token_file, or use a unix socket", a.Address)
		default:
			d.errorAt(a.node, "token_file is required: %s can be reached from other hosts", a.Address)
		}
	}
}
