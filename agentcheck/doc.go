// Package agentcheck implements the agent-check protocol: an agent on a server's host reports, in one line of words,
// the state and weight of the server. The words have the meaning of HAProxy's documentation (section 5.2 of its configuration
// manual, "agent-check"), with one addition: "failed" means "fail".
//
// It contains the grammar (Parse), the client (Query) and a small agent for hosts that publish their own state and
// weight (Server). It imports the standard library only, returns errors and does not log.
package agentcheck
