// Package nettest contains the hosts, clients and instruments of weir's tests: hosts with one behaviour (Start with a
// Handler, FullBacklog, Reserve), clients that notice every lost, repeated or foreign byte (Duplex, Exchange), real
// Redis and MariaDB servers, network namespaces with packet filters, and resource readings of a process (descriptors,
// threads, memory, CPU time). Wait and Elapsed do not count delays of the machine itself. Run wraps a test binary and
// fails it if descriptors or goroutines leak.
//
// Everything listens on loopback or inside a namespace of the test, ends with the test that started it, and fails the
// test instead of returning an error. Only tests import it.
package nettest
