// Package soak runs weir under random load and faults and verifies every single session.
//
// It starts the built program with a generated configuration, test servers (some in this process, some in child
// processes that are killed), and clients whose data is known in advance. Meanwhile servers are killed and restarted,
// the configuration is changed and reloaded, the process is upgraded, an operator overrides states and cuts sessions,
// and limits are reached.
//
//	soak.go             a run from its start to its report
//	load.go             the clients and the faults during the run
//	session_script.go   what a session does; the script is sent in front of it
//	random_script.go    random scripts
//	tcp_client.go       the client side of a session
//	tcp_server.go       test servers, which can be killed
//	client_hello.go     the ClientHello in front of a session
//	greeting_server.go  servers that refuse sessions in their protocol
//	child_server.go     a test server in a process of its own
//	udp_echo.go         the same for UDP
//	proxy_header.go     PROXY headers on both sides
//	random_config.go    the configuration: mutate_config.go changes it, config_file.go writes it
//	routes.go           routes of listeners, and which of them a session must have
//	providers.go        what lists the servers of two clusters
//	conditions.go       what a configuration explains while it is in force
//	weir_process.go     the program under test: process and log; weir_api.go, weir_figures.go
//	faults.go           faults of servers and of weir, upgrades
//	reloads.go          reloads
//	operator.go         overrides and requests
//	fault_log.go        which fault affected what, and when
//	results.go          the results of clients, servers and weir
//	verify_sessions.go  whether they agree
//	explained_ends.go   which faults explain which ends
//	idle.go, leaks.go, counters.go, report.go   the end of the run
//
// The seed decides what is done. When it happens depends on the machine.
package soak
