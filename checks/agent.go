package checks

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"

	"weir/agentcheck"
)

// Agent queries an agent on the server's host: the agent check of HAProxy's documentation. Report.Advice is its reply.
// An error means that there is no advice this time. It belongs to an Advisory job and gives no verdict on the server.
type Agent struct {
	Send []byte // written first, unchanged
	TLS  *TLS   // nil = plain
}

// Monitor returns the monitor, or an error of the TLS options.
func (o Agent) Monitor() (Monitor, error) {
	secure, err := o.TLS.config()
	if err != nil {
		return nil, err
	}
	send := NewRedactor(nil, string(o.Send))
	return send.monitor(func(ctx context.Context, t Target) (Report, error) {
		x, err := openConn(ctx, t, secure)
		if err != nil {
			return Report{}, err
		}
		defer x.close()
		return adviceReport(agentcheck.Query(x, o.Send))
	}), nil
}

// AgentHTTP queries an agent over HTTP. The body of its reply has the format of an Agent's reply. If the length of the
// body is known, the end of the body also ends the line.
type AgentHTTP struct {
	HTTP // Codes default to 2xx; Expect is not used
}

// Monitor returns the monitor, or an error as HTTP.Monitor does.
func (o AgentHTTP) Monitor() (Monitor, error) {
	o.Codes = cmp.Or(o.Codes, "2xx")
	return o.monitor(o.checkReply)
}

// checkReply sends the request and reads the advice in the reply.
func (o AgentHTTP) checkReply(x *checkConn, t Target, secure *tls.Config, codes Codes) (Report, error) {
	response, err := o.roundTrip(x, t, secure)
	if err != nil {
		return Report{}, err
	}
	if !codes.Match(response.code) {
		return Report{}, fmt.Errorf("status: expected %s, got %s", codes, quote([]byte(response.status)))
	}
	return adviceReport(agentcheck.ReadReply(response.body, response.delimited))
}

func adviceReport(advice agentcheck.Advice, err error) (Report, error) {
	if err != nil {
		return Report{}, fmt.Errorf("no advice: %w", err)
	}
	return Report{Detail: clipText(advice.String()), Advice: &advice}, nil
}
