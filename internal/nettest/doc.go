// Package nettest holds the hosts, clients and instruments that weir's tests are made of: hosts that behave well or badly
// in one particular way (Start with a Handler, FullBacklog, Reserve), clients that notice every lost, repeated or foreign
// byte (Duplex, Exchange), the real Redis and MariaDB, network namespaces with packet filters, and readings of a process
// (descriptors, threads, memory, CPU time). Wait and Took do not count what the machine itself was late. Run wraps a test
// binary and fails it when descriptors or goroutines are left.
//
// Everything listens on loopback or inside a namespace that the test made, ends with the test that started it, and fails
// the test instead of returning an error. Only tests import it.
package nettest
