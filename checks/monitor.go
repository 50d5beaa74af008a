package checks

import (
	"context"
	"fmt"
	"net/netip"

	"weir/agentcheck"
	"weir/conf"
)

// Monitor tests one server once. A nil error means that the server passed. An error that IsShortage reports means that
// this host could not run the test; it gives no verdict. A StandbyError means that the server works and has another role,
// a FullError that it has no room for another connection. Any other error states what was expected and what was
// received, without secrets.
//
// The context carries the only time limit. A monitor returns soon after the context has ended, and closes everything it
// opened before it returns. It is safe for concurrent use.
type Monitor func(ctx context.Context, t Target) (Report, error)

// Target is what a monitor tests. Names are already resolved.
type Target struct {
	Cluster, Server string // names, for programs

	Network string // tcp or unix; "" = tcp. UDP and exec monitors ignore it
	Address string // host:port with a literal IP address, or the path of a unix socket; "" = Host has no address yet

	// More are further addresses of the same kind, separated by spaces: those of a host name with several. Each is tested
	// by a run of its own, and the server passes if one of them does.
	More string

	Host      string     // the configured host, for TLS and HTTP; "" = the host of Address
	Source    netip.Addr // local address; zero = chosen by the kernel
	Interface string     // that it leaves through; "" = any
	SendProxy string     // "", v1 or v2: version of the PROXY protocol header that precedes the check
}

// Report is the detail that a monitor found. It may be set even if the server failed.
type Report struct {
	Detail string             // one line for people, such as a version or a role; may be empty
	Advice *agentcheck.Advice // the reply of an agent; nil for other monitors
}

// OptionError reports an invalid option of a check that depends on this host, such as a file that cannot be read.
type OptionError struct {
	Option string // name in the configuration
	Err    error
}

func (e OptionError) Error() string { return e.Option + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e OptionError) Unwrap() error { return e.Err }

// NewMonitor builds the monitor of a configured check. It returns an error if an option is invalid, a file cannot be
// read (both as an OptionError), or the type is unknown. It reads files and the environment, and opens no socket.
func NewMonitor(spec conf.Check) (Monitor, error) {
	switch spec.Type {
	case "tcp":
		return TCP{Steps: spec.Steps, TLS: tlsOf(spec), Quiet: spec.Quiet}.Monitor()
	case "http":
		return httpOf(spec).Monitor()
	case "redis":
		return Redis{
			User: spec.User, Password: Secret(spec.Password), Role: spec.Role, MaxLag: spec.MaxLag, AllowStale: spec.AllowStale, TLS: tlsOf(spec),
		}.Monitor()
	case "mysql":
		return MySQL{
			User: spec.User, Password: Secret(spec.Password), Database: spec.Database, Role: spec.Role, MaxLag: spec.MaxLag,
			Galera: spec.Galera, AllowDonor: spec.AllowDonor, Query: spec.Query, TLS: tlsOf(spec),
			ServerKeyFile: spec.ServerKeyFile, AllowPublicKey: spec.AllowPublicKey,
		}.Monitor()
	case "pgsql":
		return PgSQL{
			User: spec.User, Password: Secret(spec.Password), Database: spec.Database, Role: spec.Role, MaxLag: spec.MaxLag,
			Query: spec.Query, TLS: tlsOf(spec),
		}.Monitor()
	case "udp":
		return UDP{Steps: spec.Steps}.Monitor()
	case "exec":
		return Exec{Command: spec.Command}.Monitor()
	case "agent":
		return Agent{Send: spec.Send, TLS: tlsOf(spec)}.Monitor()
	case "agent_http":
		return AgentHTTP{httpOf(spec)}.Monitor()
	}
	return nil, fmt.Errorf("unknown type %q", spec.Type)
}

func httpOf(spec conf.Check) HTTP {
	o := HTTP{
		Method: spec.Method, Path: spec.Path, Host: spec.Host, Body: spec.Body, Codes: spec.OKCodes, Expect: spec.Expect, TLS: tlsOf(spec),
	}
	for _, h := range spec.Headers {
		o.Headers = append(o.Headers, [2]string{h.Name, h.Value})
	}
	return o
}

func tlsOf(spec conf.Check) *TLS {
	if !spec.TLS.On {
		return nil
	}
	return &TLS{
		ServerName: spec.TLS.ServerName, CAFile: spec.TLS.CAFile, CertFile: spec.TLS.CertFile, KeyFile: spec.TLS.KeyFile,
		SkipVerify: spec.TLS.SkipVerify,
	}
}
