// Package handover is the protocol of an upgrade: the messages between the old process and the new one, and both roles.
// What is transferred (listen sockets, state, sessions, UDP flows, counters) belongs to package engine.
//
// The old process starts the new one with one end of a socket pair:
//
//	old process                new process
//	hello                  →
//	                       ←   hello         protocol and batch formats; different protocols end the upgrade
//	sockets, state         →
//	                       ←   ready         configuration loaded, sockets bound; or failed, with the reason
//	commit, with the state →                 the old process has stopped accepting
//	                       ←   serving       the new process accepts from the next message on
//	flows …                →                 a batch of UDP flows
//	                       ←   received …
//	confirm …              →                 the new process starts the batch; or returned: the old process keeps it
//	flows done             →                 the new process reads datagrams that arrived meanwhile
//	sessions …             →                 batches of TCP sessions, received and confirmed likewise
//	counters               →                 what the old process has counted since; repeated, and sent last at exit
//
// Before serving, a failure of the new process changes nothing: the old process keeps its listen sockets until
// everything that can move has moved, and resumes accepting. The new process has accepted no client then, also if serving
// was on its way when the old process gave up and killed it. The old process closes the connection only after it has
// killed the new process or sent everything. A closed connection therefore tells the new process that the old one has
// died; it continues with what it has received.
package handover
