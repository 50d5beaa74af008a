package checks

import (
	"context"
	"fmt"
	"net/netip"

	"weir/agentcheck"
	"weir/conf"
)

// Monitor tests one server once. A nil error means that the server passed. An error that wraps ErrShortage, or one of
// the system errors that Shortage knows, says that this host could not test and makes no verdict; any other error says
// what was expected and what came, without secrets.
//
// The context carries the only time limit. A monitor returns soon after the context has ended, and closes whatever it
// opened before it returns. It may be called for several targets at the same time.
type Monitor func(ctx context.Context, t Target) (Report, error)

// Target is what a monitor is run against. Names are already resolved.
type Target struct {
	Cluster, Server string // names, for monitors that pass them on

	Network string // tcp or unix; "" = tcp. A monitor that speaks UDP or runs a program knows so by itself
	Address string // host:port with a literal IP address, or the path of a unix socket

	Host      string     // the host as configured, for TLS and HTTP; "" = the address's own
	Source    netip.Addr // local address to test from; zero = the kernel's choice
	SendProxy string     // "", v1 or v2: open TCP connections with a PROXY protocol header
}

// Report is what a monitor has learnt about a server that passed, and about some that did not.
type Report struct {
	Detail string             // for people, one line: a version, a role; may be empty
	Advice *agentcheck.Advice // what an agent said; nil for other monitors
}

// OptionError is what is wrong with the value of one of a check's options, found out on this host.
type OptionError struct {
	Option string // as it is named in the configuration
	Err    error
}

func (e OptionError) Error() string { return e.Option + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e OptionError) Unwrap() error { return e.Err }

// NewMonitor builds the monitor that a configuration's check asks for. The error tells a wrong option, a file that
// cannot be read (both as an OptionError) or a type that does not exist. Files and the environment are read now; no socket is opened.
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
	return &TLS{ServerName: spec.TLS.ServerName, CAFile: spec.TLS.CAFile, SkipVerify: spec.TLS.SkipVerify}
}
