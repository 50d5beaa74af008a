// Package l4 is the data plane: sockets, event loops, and the TCP sessions that pass through them.
//
// A Plane runs a few loops, each a goroutine with an epoll descriptor, a timing wheel and sessions of its own; what a
// loop owns nobody else touches. Others leave messages. The life of a session, and where to read it:
//
//	accept   accept.go   A listening socket of the loop has a client. If it may not come in (admission.go) it is reset;
//	                     otherwise it becomes a session of this loop, or of one that has clearly fewer.
//	preread  preread.go  Where a PROXY header is wanted, it is waited for, for proxy_timeout at most. It says who the client
//	                     is that is let in or not.
//	arrive   dial.go     The first event of the client's socket comes at once and tells whether it is still there.
//	pick     dial.go     The cluster hands out a lease on a server, or a place in its queue (queue.go).
//	dial     dial.go     A non-blocking connect, under connect_timeout and try_timeout. If it fails, the lease goes
//	                     back with the reason and the next server is picked: the only step back there is. Nothing is
//	                     sent before the connection stands, and nothing is ever sent twice.
//	relay    relay.go    Both directions get their turn whenever one of the sockets has something to tell. A stream
//	                     (stream.go) copies small messages through the loop's scratch buffer; one that keeps filling
//	                     it is spliced through a pipe. What a socket refuses is kept, one buffer or pipe at most, and
//	                     nothing more is read meanwhile: a slow reader slows its sender, and costs no more memory.
//	                     A FIN is passed on after every byte before it, and the other direction goes on.
//	abort    abort.go    One side was reset, or the session is cut from outside. What was received is delivered and
//	                     acknowledged first, within bounds; then both sides are reset. A reset is never shown as a
//	                     clean end, nor a clean end as a reset.
//	finish   session.go  The one exit: the lease given back, what was lent returned, one record made, both descriptors
//	                     closed. Its Termination is the reason and the phase.
//	move     handover.go A session in relay goes on in another process, when this one is replaced.
//
// An idle session holds two descriptors and about a third of a kilobyte.
//
// A UDP flow lives in the same loops. Datagrams come in batches from a listening socket (inlet.go) and find their flow
// (flowtable.go) or begin one; a flow (flow.go) has a connected socket towards its server, over which its datagrams leave
// at once, and whose replies gather until the loop has seen all its events. datagram.go holds the batches and what joins
// datagrams of one size into one send; kept.go what may have to be sent again.
package l4
