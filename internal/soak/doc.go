// Package soak runs weir under random load and faults and verifies every single session.
//
// It starts the built program with a generated configuration, test servers (some in this process, some in child
// processes that are killed), and clients whose data is known in advance. Meanwhile servers are killed and restarted,
// the configuration is changed and reloaded, the process is upgraded, an operator overrides states and cuts sessions,
// and limits are reached.
//
//	session_script.go   what a session does; the script is sent in front of it
//	tcp_client.go       the client side of a session
//	tcp_server.go       test servers, which can be killed
//	child_server.go     a test server in a process of its own
//	udp_echo.go         the same for UDP
//	proxy_header.go     PROXY headers on both sides
//	random_config.go    the configuration and its random changes
//	weir_process.go     the program under test: process, log, metrics and API
//	faults.go           faults, reloads, upgrades and overrides
//	fault_log.go        which fault affected what, and when
//	verify_sessions.go  whether faults, both sides and weir's record explain the end of a session
//	soak.go             a run from its start to its report
//
// The seed decides what is done. When it happens depends on the machine.
package soak
