package fleetbed

// The demonstration: an operator kills, drains and unplugs nodes of a fleet by typing, while clients open connections.

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/internal/nettest"
	"weir/internal/status"
)

const (
	demoRate = 100 // connections per second
	demoTTL  = 3 * time.Second
)

// The addresses of the servers of the demonstration, and of the members of etcd.
var (
	demoServers = map[string]string{"a": "10.0.100.2:7001", "b": "10.0.100.2:7002"}
	demoEtcd    = []string{"10.0.100.11", "10.0.100.12", "10.0.100.13"}
)

const demoHelp = `  status                    the fleet, as the first node that runs sees it
  drain N, ready N          drain a node, as weir node drain does; end that
  kill N, start N           kill -9 a weir; its service cleans up; start it again
  unplug N, plug N          cut the network of a node; connect it again
  server a drain|ready      an override of a server, on the first node that runs
  stop a, serve a           end a server; start it again
  etcd kill M, start M      kill a member of etcd; start it again
  weir N ARGUMENT…          any command of weir on a node, such as: weir 2 fleet status
  wait SECONDS              do nothing
  help, quit                N is 1 to 3, M is 1 to 3, servers are a and b
`

// Demo is a fleet of three weirs with BIRD, an etcd of three members and a router with ECMP.
type Demo struct {
	*Bed
	Etcd    *nettest.Etcd
	servers map[string]*nettest.Host
	out     io.Writer
	load    *Load
	failed  int // failures that were reported
}

// StartDemo starts all of it and waits until the router uses every node.
func StartDemo(b *Bed, out io.Writer) *Demo {
	b.T.Helper()
	d := &Demo{Bed: b, servers: map[string]*nettest.Host{"a": b.Server}, out: out}
	d.servers["b"] = b.Servers.Start(demoServers["b"], nettest.Echo)
	for _, at := range demoEtcd {
		b.Servers.Exec("ip", "address", "add", at+"/24", "dev", "eth0")
	}
	d.Etcd = b.Servers.StartEtcd(demoEtcd...)
	for _, n := range b.Nodes {
		d.serve(n)
	}
	b.WaitNextHops(b.Nodes...)
	d.load = b.StartLoad(demoRate)
	return d
}

// serve starts weir on a node.
func (d *Demo) serve(n *Node) {
	n.Serve(d.config(n)).Baseline = nil // the connection to the store comes and goes
}

// config returns the configuration of a node in the fleet.
func (d *Demo) config(n *Node) string {
	fleet := fmt.Sprintf("[fleet]\nendpoints = [%q, %q, %q]\nprefix = \"/weir/demo\"\nnode = %q\nttl = %q\nshare = [\"overrides\", \"limits\"]\n"+
		"[cluster.c.fleet]\nverdict = \"quorum\"\n", d.Etcd.Members[0].URL(), d.Etcd.Members[1].URL(), d.Etcd.Members[2].URL(), n.name(), demoTTL)
	servers := fmt.Sprintf("%s name=a\", \"%s name=b", demoServers["a"], demoServers["b"])
	return strings.Replace(n.Config(fleet), `"`+ServerAddr+`"`, `"`+servers+`"`, 1)
}

// Run carries out the commands of in, one per line, until it ends or one of them is quit. Once a second it prints what clients see.
func (d *Demo) Run(in io.Reader) {
	fmt.Fprintf(d.out, "three weirs serve %s:%s; %d connections per second\n%s", VIP, Port, demoRate, demoHelp)
	lines := readCommands(in)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case words, ok := <-lines:
			if !ok {
				return
			}
			d.do(words)
		case <-tick.C:
			d.report()
		}
	}
}

// readCommands returns a channel with the words of each line, which is closed at the end of in or at quit. It must be read to its
// end.
func readCommands(in io.Reader) <-chan []string {
	commands := make(chan []string)
	go func() {
		defer close(commands)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			words := strings.Fields(scanner.Text())
			if len(words) > 0 && words[0] == "quit" {
				return
			}
			if len(words) > 0 {
				commands <- words
			}
		}
	}()
	return commands
}

// report prints one line about the last second.
func (d *Demo) report() {
	var hops []string
	for _, n := range d.NextHops() {
		hops = append(hops, n.name())
	}
	failures := d.load.Failures()
	text := fmt.Sprintf("%s  %6d connections, %d failed; the router uses %s", time.Now().Format(time.TimeOnly), d.load.Done.Load(), len(failures), strings.Join(hops, " "))
	for _, f := range failures[min(d.failed, len(failures)):] {
		text += "\n          failed: " + f.Err.Error()
	}
	d.failed = len(failures)
	fmt.Fprintln(d.out, text)
}

// do carries out one command and prints what went wrong.
func (d *Demo) do(words []string) {
	verb, args := words[0], words[1:]
	switch {
	case verb == "help":
		fmt.Fprint(d.out, demoHelp)
	case verb == "status" && len(args) == 0:
		d.weir(d.running(), "fleet", "status")
	case verb == "server" && len(args) > 1:
		d.weir(d.running(), append([]string{"server", "c/" + args[0]}, args[1:]...)...)
	case verb == "etcd" && len(args) == 2:
		d.changeMember(args[0], args[1])
	case (verb == "stop" || verb == "serve") && len(args) == 1 && d.servers[args[0]] != nil:
		if d.servers[args[0]].Down(); verb == "serve" {
			d.servers[args[0]].Up()
		}
	case verb == "wait" && len(args) == 1:
		d.wait(args[0])
	case len(args) > 0 && d.node(args[0]) != nil && d.changeNode(verb, d.node(args[0]), args[1:]):
	default:
		fmt.Fprintf(d.out, "unknown command %q; see help\n", strings.Join(words, " "))
	}
}

// wait reports for some seconds.
func (d *Demo) wait(seconds string) {
	n, _ := strconv.Atoi(seconds)
	for range min(n, 60) {
		time.Sleep(time.Second)
		d.report()
	}
}

// node returns a node by its number, or nil.
func (d *Demo) node(text string) *Node {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > len(d.Nodes) {
		return nil
	}
	return d.Nodes[n-1]
}

// running returns the first node whose weir runs, or nil.
func (d *Demo) running() *Node {
	i := slices.IndexFunc(d.Nodes, func(n *Node) bool { return n.Weir != nil })
	if i < 0 {
		return nil
	}
	return d.Nodes[i]
}

// changeNode changes a node and reports whether it knows the verb.
func (d *Demo) changeNode(verb string, n *Node, args []string) bool {
	switch {
	case verb == "weir" && len(args) > 0:
		d.weir(n, args...)
	case len(args) > 0:
		return false
	case verb == status.NodeDrain || verb == status.NodeReady:
		d.weir(n, "node", verb)
	case verb == "kill" && n.Weir != nil:
		n.Weir.Kill()
		n.Clean()
		n.Weir = nil
	case verb == "start" && n.Weir == nil:
		d.serve(n)
	case verb == "unplug":
		n.SetLink("down")
	case verb == "plug":
		n.SetLink("up")
		n.Exec("ip", "route", "replace", "default", "via", n.address(true))
	default:
		return false
	}
	return true
}

// weir runs a command of weir on a node.
func (d *Demo) weir(n *Node, args ...string) {
	if n == nil || n.Weir == nil {
		fmt.Fprintln(d.out, "no weir runs there")
		return
	}
	_, text := n.API.RunCommand(args...)
	fmt.Fprint(d.out, text)
}

// changeMember kills or starts a member of etcd.
func (d *Demo) changeMember(verb, number string) {
	i, err := strconv.Atoi(number)
	changes := map[string]func(){"kill": func() { d.Etcd.Members[i-1].Kill() }, "start": d.Etcd.Up}
	change := changes[verb]
	if err != nil || i < 1 || i > len(d.Etcd.Members) || change == nil {
		fmt.Fprintf(d.out, "want etcd %s 1 to %d\n", strings.Join(slices.Sorted(maps.Keys(changes)), "|"), len(d.Etcd.Members))
		return
	}
	change()
}
