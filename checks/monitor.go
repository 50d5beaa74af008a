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

// NewMonitor builds the monitor that a configuration's check asks for. The error tells a wrong option, a file that
// cannot be read or a type that does not exist.
func NewMonitor(spec conf.Check) (Monitor, error) {
	switch spec.Type {
	case "tcp":
		return TCP{Steps: spec.Steps}.Monitor()
	}
	return nil, fmt.Errorf("check %s: unknown type %q", spec.ID, spec.Type)
}
