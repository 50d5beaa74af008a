// Package l4 is the data plane: listen sockets, event loops, TCP sessions and UDP flows.
//
// A Plane runs a few loops (loop.go). Each is a goroutine with an epoll descriptor, a timer wheel, and sessions and flows
// that only it touches. Other goroutines post messages to its inbox. A TCP session passes through these steps:
//
//	accept        tcp_accept.go        A listen socket (listen_socket.go) has a client. Admission (admission.go) checks ACL,
//	                                   limits and rate. A rejected client is reset; an admitted one becomes a session of
//	                                   this loop, or of one that has clearly fewer.
//	proxy_header  tcp_proxy_header.go  With accept_proxy, the PROXY header is awaited, and admission checks its client.
//	admit         tcp_accept.go        A client over a limit is pending for a moment: a slot may be about to come free.
//	client_hello  tcp_client_hello.go  With routes by TLS server name or protocol, the ClientHello is awaited, and a route
//	                                   (route.go) chooses the settings of the session.
//	hold          tcp_hold.go          With hold_timeout, a session that no server can serve now waits, without a buffer.
//	queue         tcp_queue.go         If all servers are at max_sessions, the session waits in the cluster's queue.
//	dial          tcp_dial.go          The cluster grants a lease on a server, and a non-blocking connect starts, limited
//	                                   by connect_timeout and try_timeout. After a failure the lease is released with the
//	                                   reason and the next server is picked: the only step back. No byte is sent before
//	                                   the connection is established.
//	              tcp_greeting.go      With greeting, a server that refuses with its first bytes is a failed attempt. The
//	                                   only bytes sent twice are those that such a server has refused to read.
//	relay         tcp_relay.go         Both directions (tcp_stream.go) move bytes on events. Small messages are copied
//	                                   through the loop's scratch buffer; a stream that keeps filling it is spliced
//	                                   through a pipe. At most one buffer or pipe holds what a socket did not take, and
//	                                   nothing more is read meanwhile. A FIN is forwarded after every byte before it. A
//	                                   direction over its rate (tcp_rate.go) is not read until a timer wakes it.
//	abort         tcp_abort.go         One side was reset, or the session is cut. Received bytes are delivered and
//	                                   acknowledged first, within bounds; then both sides are reset. A reset is never
//	                                   shown as a clean end, nor a clean end as a reset.
//	finish        tcp_session.go       The one exit: it releases the lease and the buffers, writes one record with phase
//	                                   and reason (termination.go), and closes both descriptors.
//	handover      handover_tcp.go      In an upgrade, a session that relays or is held continues in the new process.
//
// An idle session holds two descriptors and about a third of a kilobyte.
//
// UDP flows are in the same loops. A listen socket receives a batch of datagrams (udp_receive.go), each of which finds its
// flow (udp_flow_table.go) or starts one (udp_flow.go) after admission; if the table is full, the oldest unanswered flow
// is evicted. A flow picks a server (udp_dial.go) and sends to it at once through a connected socket of its own
// (udp_forward.go); after a refusal it picks the next server and sends its last unanswered datagram again (udp_resend.go).
// Replies gather in a send batch (udp_reply.go, udp_batch.go) that leaves when the loop has handled all its events. A busy
// flow may be left to the kernel (udp_promote.go), which forwards its datagrams until the flow ends or leaves its server; the
// loop reads what has passed (udp_promoted.go).
package l4
