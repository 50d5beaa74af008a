// Package agentcheck speaks the agent-check protocol: a server's host tells a balancer, in one line of words, how it
// wants to be used. The words and what they mean are those of HAProxy's documentation (section 5.2 of its configuration
// manual, "agent-check"), with one addition: "failed" means "fail".
//
// It holds the grammar (Parse), the client that asks an agent (Ask) and a small agent for hosts that want to publish
// their own state and weight (Agent). It imports the standard library only, returns errors and does not log.
package agentcheck
