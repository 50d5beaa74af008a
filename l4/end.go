package l4

// Why a session finished: the phase it was in and the party that ended it, or the limit that did.

// End is the one reason for which a session finished. Its text is what logs, metrics and the API show.
type End uint8

// The ends of a session. The word before the colon is the phase.
const (
	NotEnded End = iota

	RefuseDenied        // the client that a PROXY header names is not let in: deny, allow
	RefuseSessions      // … max_sessions
	RefusePerSource     // … max_sessions_per_source
	RefuseRate          // … max_session_rate
	PrereadNoHeader     // what the client said first is no PROXY header
	PrereadMalformed    // its PROXY header is wrong
	PrereadTooLong      // its PROXY header is longer than allowed
	PrereadChecksum     // the checksum in its PROXY header is not that of the header
	PrereadTruncated    // it ended its stream within the header
	PrereadClientClosed // it ended its stream without a byte: somebody looked whether the port is open
	PrereadClientReset  // it aborted before its header was complete
	PrereadTimeout      // proxy_timeout ran out
	DialNoServer        // nothing eligible was left to try
	DialRefused         // the last server tried refused
	DialTimeout         // connect_timeout ran out on the last server tried
	DialUnreachable     // the network said that the last server tried cannot be reached
	DialTryTimeout      // try_timeout ran out
	DialLocalShortage   // this machine had no descriptor, port, address or memory to dial with
	DialClientReset     // the client gave up before a server was found
	DialQueueTimeout    // queue_timeout ran out before a server had room
	RelayClientClosed   // both sides finished cleanly, the client first
	RelayServerClosed   // both sides finished cleanly, the server first
	RelayClientReset    // the client aborted
	RelayServerReset    // the server aborted
	RelayClientTimeout  // the client's host stopped answering (keepalive or tcp_user_timeout)
	RelayServerTimeout  // the server's host stopped answering
	RelayClientIdle     // client_idle_timeout
	RelayServerIdle     // server_idle_timeout
	RelayHalfClose      // half_close_timeout
	RelayFlowTimeout    // flow_timeout: neither side has sent a datagram for so long
	RelayResponses      // every datagram of the client has had its responses
	FlowEvicted         // a flow without an answer had to make room
	CutServerDown       // the server went down or into maint, and on_down is close
	CutServerGone       // the server was removed and drain_timeout ran out
	CutListenerGone     // the listener was removed and drain_timeout ran out
	CutShutdown         // weir stopped and drain_timeout ran out
	CutOperator         // an operator ended it
	endCount
)

var endTexts = [endCount]string{
	NotEnded:            "",
	RefuseDenied:        "refuse: denied",
	RefuseSessions:      "refuse: max_sessions",
	RefusePerSource:     "refuse: max_sessions_per_source",
	RefuseRate:          "refuse: max_session_rate",
	PrereadNoHeader:     "preread: no header",
	PrereadMalformed:    "preread: malformed header",
	PrereadTooLong:      "preread: header too long",
	PrereadChecksum:     "preread: wrong checksum",
	PrereadTruncated:    "preread: truncated header",
	PrereadClientClosed: "preread: client closed",
	PrereadClientReset:  "preread: client reset",
	PrereadTimeout:      "preread: proxy_timeout",
	DialNoServer:        "dial: no server",
	DialRefused:         "dial: server refused",
	DialTimeout:         "dial: server connect_timeout",
	DialUnreachable:     "dial: server unreachable",
	DialTryTimeout:      "dial: try_timeout",
	DialLocalShortage:   "dial: local shortage",
	DialClientReset:     "dial: client reset",
	DialQueueTimeout:    "dial: queue_timeout",
	RelayClientClosed:   "relay: client closed",
	RelayServerClosed:   "relay: server closed",
	RelayClientReset:    "relay: client reset",
	RelayServerReset:    "relay: server reset",
	RelayClientTimeout:  "relay: client timeout",
	RelayServerTimeout:  "relay: server timeout",
	RelayClientIdle:     "relay: client_idle_timeout",
	RelayServerIdle:     "relay: server_idle_timeout",
	RelayHalfClose:      "relay: half_close_timeout",
	RelayFlowTimeout:    "relay: flow_timeout",
	RelayResponses:      "relay: responses",
	FlowEvicted:         "flow: evicted",
	CutServerDown:       "cut: server down",
	CutServerGone:       "cut: server removed",
	CutListenerGone:     "cut: listener removed",
	CutShutdown:         "cut: shutdown",
	CutOperator:         "cut: operator",
}

func (e End) String() string {
	if e < endCount {
		return endTexts[e]
	}
	return "unknown"
}

// Clean reports whether both sides finished of their own accord with every byte delivered.
func (e End) Clean() bool {
	switch e {
	case RelayClientClosed, RelayServerClosed, PrereadClientClosed, RelayFlowTimeout, RelayResponses:
		return true
	}
	return false
}

// errorless reports whether the end is none that anybody has to look into: clean ones, those of clients that left before
// they said anything, as whoever only looks at the port does, and those of flows that strangers with invented addresses
// can make by the thousand.
func (e End) errorless() bool { return e.Clean() || e == PrereadClientReset || e == FlowEvicted }
