package l4

import (
	"math/bits"
	"slices"
)

// Phase is what a session does at a moment. UDP flows use PhaseDial, PhaseUnanswered, PhaseRelay and PhaseHandover.
type Phase uint8

// The phases of a session, in the order in which it passes through them.
const (
	PhaseNone        Phase = iota // the slot has no session
	PhaseAccept                   // waits for the first event of its client socket
	PhaseProxyHeader              // waits for the client's PROXY header
	PhaseAdmit                    // waits briefly for room under a session limit
	PhaseClientHello              // waits for the client's TLS ClientHello
	PhaseHold                     // waits up to hold_timeout while no server can serve it
	PhaseQueue                    // waits up to queue_timeout for a server below its max_sessions
	PhaseDial                     // picks a server and connects; a flow: has no server
	PhaseUnanswered               // a flow: has sent datagrams, has no reply yet
	PhaseRelay                    // forwards bytes or datagrams
	PhaseAbort                    // has a reason and delivers received bytes before the reset
	PhaseHandover                 // moves to the new process of an upgrade; nothing touches it
	phaseCount
)

var phaseNames = [phaseCount]string{"", "accept", "proxy_header", "admit", "client_hello", "hold", "queue", "dial", "unanswered", "relay", "abort", "handover"}

// String returns the name that the log, metrics and the API show.
func (p Phase) String() string { return phaseNames[p] }

// Reason is the one reason for which a session ended.
type Reason uint8

// The reasons for which a session ends.
const (
	ReasonNone Reason = iota // it has not ended

	ReasonClientClosed            // both sides closed, client first; in PhaseProxyHeader: closed without a byte
	ReasonServerClosed            // both sides closed, server first
	ReasonClientReset             // the client reset the connection
	ReasonServerReset             // the server reset the connection
	ReasonClientTimeout           // the client's host stopped answering (tcp_keepalive, tcp_user_timeout)
	ReasonServerTimeout           // the server's host stopped answering
	ReasonClientStalled           // the client's host answered but did not read for tcp_user_timeout
	ReasonServerStalled           // the server's host answered but did not read for tcp_user_timeout
	ReasonClientIdle              // client_idle_timeout
	ReasonServerIdle              // server_idle_timeout
	ReasonHalfClose               // half_close_timeout
	ReasonFlowTimeout             // UDP: no datagram for flow_timeout
	ReasonResponsesComplete       // UDP: all responses received
	ReasonEvicted                 // UDP: made room in a full flow table
	ReasonNoHeader                // the first bytes are no PROXY header
	ReasonMalformedHeader         // the PROXY header is invalid
	ReasonHeaderTooLong           // the PROXY header is above the limit
	ReasonBadChecksum             // the CRC32c of the PROXY header does not match
	ReasonTruncatedHeader         // the stream ended within the PROXY header
	ReasonProxyTimeout            // proxy_timeout
	ReasonDenied                  // deny or allow rejects the client that a PROXY header names
	ReasonMaxSessions             // … max_sessions
	ReasonMaxSessionsPerSource    // … max_sessions_per_source
	ReasonMaxSessionRate          // … max_session_rate
	ReasonMaxSessionRatePerSource // … max_session_rate_per_source
	ReasonPrereadTimeout          // preread_timeout
	ReasonHelloTooLong            // the ClientHello is above the limit
	ReasonHoldTimeout             // hold_timeout
	ReasonHoldFull                // max_held
	ReasonQueueTimeout            // queue_timeout
	ReasonTryTimeout              // try_timeout
	ReasonNoServer                // no eligible server to try
	ReasonRefused                 // the last server tried refused the connection
	ReasonConnectTimeout          // connect_timeout of the last server tried
	ReasonUnreachable             // the network reported the last server tried as unreachable
	ReasonServerRefused           // the last server tried refused the session after it had accepted the connection
	ReasonGreetingTimeout         // greeting_timeout of the last server tried
	ReasonLocalShortage           // this host lacked a descriptor, port, address or memory
	ReasonCutServerDown           // server down or in maint, on_down = "close"
	ReasonCutDemoted              // server lost the role that its cluster wants, on_down = "close"
	ReasonCutServerRemoved        // server removed, drain_timeout expired
	ReasonCutDrain                // server in drain, its deadline or a quiet moment before it
	ReasonCutAge                  // max_session_age
	ReasonCutFailback             // a better level has taken over, on_failback = "close"
	ReasonCutRebalance            // the server had more sessions than its fair share
	ReasonCutLimit                // the node has lost its part of the server's max_sessions in the fleet
	ReasonCutListenerRemoved      // listener removed, drain_timeout expired
	ReasonCutShutdown             // weir stopped, drain_timeout expired
	ReasonCutOperator             // ended by an operator
	reasonCount
)

// phaseSet is a set of phases, one bit each.
type phaseSet uint16

const (
	inRelay       phaseSet = 1 << PhaseRelay
	inProxyHeader phaseSet = 1 << PhaseProxyHeader
	inAdmit       phaseSet = 1 << PhaseAdmit
	inClientHello phaseSet = 1 << PhaseClientHello
	inHold        phaseSet = 1 << PhaseHold
	inQueue       phaseSet = 1 << PhaseQueue
	inDial        phaseSet = 1 << PhaseDial
	inUnanswered  phaseSet = 1 << PhaseUnanswered
	inHandover    phaseSet = 1 << PhaseHandover
	inAccept      phaseSet = 1 << PhaseAccept
	inFlow                 = inDial | inUnanswered | inRelay
	inAny                  = inAccept | inProxyHeader | inAdmit | inClientHello | inHold | inQueue | inFlow | inHandover
)

// reasons holds the name of each reason and the phases in which it can occur.
var reasons = [reasonCount]struct {
	name   string
	phases phaseSet
}{
	ReasonClientClosed:            {"client_closed", inRelay | inProxyHeader},
	ReasonServerClosed:            {"server_closed", inRelay},
	ReasonClientReset:             {"client_reset", inAccept | inProxyHeader | inAdmit | inClientHello | inHold | inQueue | inDial | inRelay},
	ReasonServerReset:             {"server_reset", inRelay},
	ReasonClientTimeout:           {"client_timeout", inRelay},
	ReasonServerTimeout:           {"server_timeout", inRelay},
	ReasonClientStalled:           {"client_stalled", inRelay},
	ReasonServerStalled:           {"server_stalled", inRelay},
	ReasonClientIdle:              {"client_idle", inRelay},
	ReasonServerIdle:              {"server_idle", inRelay},
	ReasonHalfClose:               {"half_close_timeout", inRelay},
	ReasonFlowTimeout:             {"flow_timeout", inFlow},
	ReasonResponsesComplete:       {"responses_complete", inRelay},
	ReasonEvicted:                 {"evicted", inFlow},
	ReasonNoHeader:                {"no_header", inProxyHeader},
	ReasonMalformedHeader:         {"malformed_header", inProxyHeader},
	ReasonHeaderTooLong:           {"header_too_long", inProxyHeader},
	ReasonBadChecksum:             {"bad_checksum", inProxyHeader},
	ReasonTruncatedHeader:         {"truncated_header", inProxyHeader},
	ReasonProxyTimeout:            {"proxy_timeout", inProxyHeader},
	ReasonDenied:                  {"denied", inAdmit},
	ReasonMaxSessions:             {"max_sessions", inAdmit},
	ReasonMaxSessionsPerSource:    {"max_sessions_per_source", inAdmit},
	ReasonMaxSessionRate:          {"max_session_rate", inAdmit},
	ReasonMaxSessionRatePerSource: {"max_session_rate_per_source", inAdmit},
	ReasonPrereadTimeout:          {"preread_timeout", inClientHello},
	ReasonHelloTooLong:            {"client_hello_too_long", inClientHello},
	ReasonHoldTimeout:             {"hold_timeout", inHold},
	ReasonHoldFull:                {"hold_full", inHold},
	ReasonQueueTimeout:            {"queue_timeout", inQueue},
	ReasonTryTimeout:              {"try_timeout", inQueue | inDial},
	ReasonNoServer:                {"no_server", inDial},
	ReasonRefused:                 {"refused", inDial},
	ReasonConnectTimeout:          {"connect_timeout", inDial},
	ReasonUnreachable:             {"unreachable", inDial},
	ReasonServerRefused:           {"server_refused", inDial},
	ReasonGreetingTimeout:         {"greeting_timeout", inDial},
	ReasonLocalShortage:           {"local_shortage", inAccept | inProxyHeader | inDial | inHandover},
	ReasonCutServerDown:           {"cut_server_down", inRelay},
	ReasonCutDemoted:              {"cut_demoted", inRelay},
	ReasonCutServerRemoved:        {"cut_server_removed", inUnanswered | inRelay},
	ReasonCutDrain:                {"cut_drain", inRelay},
	ReasonCutAge:                  {"cut_age", inRelay},
	ReasonCutFailback:             {"cut_failback", inRelay},
	ReasonCutRebalance:            {"cut_rebalance", inRelay},
	ReasonCutLimit:                {"cut_limit", inUnanswered | inRelay},
	ReasonCutListenerRemoved:      {"cut_listener_removed", inAny},
	ReasonCutShutdown:             {"cut_shutdown", inAny},
	ReasonCutOperator:             {"cut_operator", inAny},
}

// String returns the name that the log, metrics and the API show.
func (r Reason) String() string { return reasons[r].name }

// ofServer reports whether the reason concerns only sessions connected to a server.
func (r Reason) ofServer() bool {
	switch r {
	case ReasonCutServerDown, ReasonCutDemoted, ReasonCutServerRemoved, ReasonCutDrain, ReasonCutAge, ReasonCutFailback, ReasonCutRebalance, ReasonCutLimit:
		return true
	}
	return false
}

// isCut reports whether weir has ended the session.
func (r Reason) isCut() bool { return r >= ReasonCutServerDown }

// Termination is how a session ended: the reason, and the phase in which it occurred, which is never PhaseAbort.
type Termination struct {
	Phase  Phase
	Reason Reason
}

// terminationCount is the number of Terminations.
const terminationCount = 94

// terminations holds every combination of phase and reason, by reason and then phase.
var terminations = listTerminations()

// firstTermination holds, for each reason, the index of its first combination in terminations.
var firstTermination = indexTerminations()

func listTerminations() (list [terminationCount]Termination) {
	n := 0
	for r := range reasonCount {
		for p := range phaseCount {
			if reasons[r].phases&(1<<p) != 0 {
				list[n] = Termination{p, r}
				n++
			}
		}
	}
	return list
}

func indexTerminations() (first [reasonCount]uint8) {
	for i, t := range slices.Backward(terminations[:]) {
		first[t.Reason] = uint8(i)
	}
	return first
}

// String returns phase and reason, separated by a space.
func (t Termination) String() string { return t.Phase.String() + " " + t.Reason.String() }

// Terminations returns every combination of phase and reason. Counters.Ended has the same order.
func Terminations() []Termination { return terminations[:] }

// index returns the position in terminations.
func (t Termination) index() int {
	before := reasons[t.Reason].phases & (1<<t.Phase - 1)
	return int(firstTermination[t.Reason]) + bits.OnesCount16(uint16(before))
}

// Clean reports whether both sides finished without an error and every byte was delivered.
func (t Termination) Clean() bool {
	switch t.Reason {
	case ReasonClientClosed, ReasonServerClosed, ReasonFlowTimeout, ReasonResponsesComplete:
		return true
	}
	return false
}

// expected reports whether log.sessions = "errors" omits the termination: clean ones, clients that leave before a server is
// picked for them, as port checks do, and evicted flows. Strangers can cause the latter in any number.
func (t Termination) expected() bool {
	early := t.Phase == PhaseAccept || t.Phase == PhaseProxyHeader || t.Phase == PhaseClientHello
	return t.Clean() || t.Reason == ReasonEvicted || early && t.Reason == ReasonClientReset
}
