package main

import (
	"fmt"
	"os/exec"
	"strings"
)

// productNames lists what can be measured, in the order of the table's columns.
func productNames() []string {
	return []string{direct, bare, "haproxy", "nginx", weirOld, weirNew}
}

// Products with a special role in the evaluation.
const (
	direct  = "direct"   // no proxy: what the machine and the load generator can do
	bare    = "bare"     // the least that a forwarder has to do
	weirNew = "weir"     // what is judged
	weirOld = "weir-old" // another weir binary, for before and after
)

// product is one way from the clients to the servers.
type product struct {
	name string
	// command writes the proxy's configuration into dir and returns the command that runs it in the foreground. It
	// is nil for direct.
	command func(dir string, f forward) ([]string, error)
	// version describes what is measured.
	version string
}

// forward is the task of a proxy: plain TCP forwarding, tuned, without logs.
type forward struct {
	listen    string       // host:port
	servers   []string     // host:port each
	sessions  int          // the most sessions the load opens at one time
	bulk      bool         // few long streams: splice where that has to be asked for
	threads   int          // threads, workers or loops
	udp       bool         // forward UDP instead of TCP
	responses int          // of UDP, to each datagram, after which a flow is over; 0 = any number
	checks    bool         // check every server, and log those that go down
	methods   *methodNames // how servers are chosen; nil = in turn
}

// peers are the products that weir is compared with.
func peers() []string { return []string{"haproxy", "nginx"} }

// newProduct builds a product, or returns why it cannot be measured here.
func newProduct(name string, o options) (product, error) {
	switch name {
	case direct:
		return product{name: direct, version: "client and server without a proxy"}, nil
	case bare:
		return newBare()
	case "haproxy":
		return newHAProxy()
	case "nginx":
		return newNginx()
	case weirNew:
		return newWeir(weirNew, o.weir)
	case weirOld:
		return newWeir(weirOld, o.weirOld)
	}
	return product{}, fmt.Errorf("unknown product %q, want one of %s", name, strings.Join(productNames(), ", "))
}

// firstLine runs a command that prints a version and returns the first line of its output. Some of these commands exit
// with an error anyway.
func firstLine(argv ...string) string {
	out, _ := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
