// Package soak puts a weir under everything at once and looks whether it did right by every single session.
//
// It starts the built program with a generated configuration, servers of its own (some in this process, some in a child
// that is killed for real), and clients whose every byte is known beforehand. Meanwhile servers die and come back, the
// configuration is changed and reloaded, the process is replaced, an operator overrides states and cuts sessions, and limits are hit.
//
//	protocol.go  what a session is to do, written in front of it, and the streams
//	client.go    a client's side of one session
//	server.go    servers, which die on request
//	child.go     such a server in a process of its own
//	datagram.go  the same for UDP
//	proxy.go     PROXY headers on both sides
//	world.go     the configuration and how it changes
//	weir.go      the program: its process, log, metrics and API
//	chaos.go     what is done to it meanwhile
//	ledger.go    what was done to whom and when
//	judge.go     whether a session's end is explained by that, by both sides and by weir's own record
//	soak.go      a run from its beginning to its report
//
// What is done is decided by a seed; when it happens depends on the machine.
package soak
