package main

import (
	"fmt"
	"os/exec"
	"strconv"
)

// serverKind is a kind of server behind the proxy.
type serverKind string

const (
	redisServer   serverKind = "redis-server" // answers many small requests on lasting connections
	webServer     serverKind = "web"          // nginx with a constant answer: one request per connection
	sourceServer  serverKind = "source"       // this program's source subcommand: as many bytes as it can send
	echoServer    serverKind = "echo"         // this program's echo subcommand: UDP, sends back what comes
	joiningServer serverKind = "echo-joined"  // the same, with datagrams of one size in one piece where the kernel has them so
	noServer      serverKind = "pump"         // none: the load generator is the server as well
	iperfServer   serverKind = "iperf3"       // iperf3 in server mode
	openServer    serverKind = "open"         // this program's open subcommand, at every address: accepts and closes
	queueServer   serverKind = "queue"        // this program's queue subcommand: few workers, one of the servers becomes slower
)

// datagrams reports whether it is a UDP server.
func (k serverKind) datagrams() bool { return k == echoServer || k == joiningServer }

// streams reports whether few long streams are its load.
func (k serverKind) streams() bool { return k == sourceServer || k == iperfServer || k == noServer }

// serverCommand writes what configuration a server needs into dir and returns its command, nil for noServer. The web server and
// the open one listen on every address; the others take one.
func serverCommand(kind serverKind, dir string, addresses []string, port, threads int, self string) ([]string, error) {
	switch kind {
	case redisServer:
		return []string{
			"redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir,
			"--save", "", "--appendonly", "no", "--maxclients", "11000",
		}, nil
	case webServer:
		path, err := exec.LookPath("nginx")
		if err != nil {
			return nil, err
		}
		return nginxCommand(path, dir, "web.conf", webConfig(dir, addresses, threads))
	case sourceServer:
		return []string{self, "source", "-listen", addresses[0]}, nil
	case noServer:
		return nil, nil
	case iperfServer:
		return []string{"iperf3", "-s", "--forceflush", "-B", "127.0.0.1", "-p", strconv.Itoa(port)}, nil
	case echoServer:
		return []string{self, "echo", "-listen", addresses[0]}, nil
	case joiningServer:
		return []string{self, "echo", "-joined", "-listen", addresses[0]}, nil
	case openServer:
		return []string{self, "open", "-listen", "0.0.0.0:" + strconv.Itoa(port)}, nil
	case queueServer:
		return queueCommand(self, addresses, port), nil
	}
	return nil, fmt.Errorf("unknown kind of server %q", kind)
}
