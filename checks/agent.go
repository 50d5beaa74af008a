package checks

import (
	"context"
	"errors"
	"fmt"
	"io"

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
	return func(ctx context.Context, t Target) (Report, error) {
		x, err := openConn(ctx, t, secure)
		if err != nil {
			return Report{}, err
		}
		defer x.close()
		advice, err := agentcheck.Query(x, o.Send)
		return adviceReport(advice, err)
	}, nil
}

// AgentHTTP queries an agent over HTTP. The body of its reply has the format of an Agent's reply. If the length of the
// body is known, the end of the body also ends the line.
type AgentHTTP struct {
	HTTP // Codes default to 2xx; Expect is not used
}

// Monitor returns the monitor, or an error as HTTP.Monitor does.
func (o AgentHTTP) Monitor() (Monitor, error) {
	if o.Codes == "" {
		o.Codes = "2xx"
	}
	codes, err := ParseCodes(o.Codes)
	if err != nil {
		return nil, err
	}
	secure, err := o.TLS.config()
	if err != nil {
		return nil, err
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	return redactReports(func(ctx context.Context, t Target) (Report, error) {
		x, err := openConn(ctx, t, secure)
		if err != nil {
			return Report{}, err
		}
		defer x.close()
		response, err := o.roundTrip(x, t, secure)
		if err != nil {
			return Report{}, err
		}
		if !codes.Match(response.code) {
			return Report{}, fmt.Errorf("status: expected %s, got %s", codes, quote([]byte(response.status)))
		}
		body, err := io.ReadAll(io.LimitReader(response.body, agentcheck.MaxReply))
		if err != nil && len(body) == 0 {
			return Report{}, err
		}
		whole := err == nil && len(body) < agentcheck.MaxReply
		if whole && response.delimited && len(body) > 0 {
			body = append(body, '\n')
		}
		advice, parseErr := agentcheck.Parse(body)
		if parseErr != nil && errors.Is(err, context.DeadlineExceeded) {
			parseErr = err
		}
		return adviceReport(advice, parseErr)
	}, o.secrets()...), nil
}

func adviceReport(advice agentcheck.Advice, err error) (Report, error) {
	if err != nil {
		return Report{}, fmt.Errorf("no advice: %w", err)
	}
	return Report{Detail: printable(advice.String()), Advice: &advice}, nil
}
