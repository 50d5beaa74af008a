package fleet_test

import (
	"bytes"
	"flag"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/fleetbed"
	"weir/internal/nettest"
)

var typed = flag.Bool("typed", false, "read the commands of the demonstration from the terminal")

// transcript is the output of a demonstration, read while it is written.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *transcript) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	nettest.Wait(t, 60*time.Second, what, is)
}

// TestDemo runs the demonstration: with a script, or with -typed as make fleet-demo does.
func TestDemo(t *testing.T) {
	if !*typed {
		t.Parallel()
	}
	b := fleetbed.New(t, "bird", "bird", "bird")
	if *typed {
		fleetbed.StartDemo(b, os.Stdout).Run(os.Stdin)
		return
	}
	out := &transcript{}
	d := fleetbed.StartDemo(b, out)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(out)
		}
	})
	script, typist := io.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); d.Run(script) }()
	do := func(commands ...string) {
		for _, c := range append(commands, "help") { // it is printed when the others have been carried out
			before := strings.Count(out.String(), "help, quit")
			io.WriteString(typist, c+"\n")
			if c == "help" {
				wait(t, c, func() bool { return strings.Count(out.String(), "help, quit") > before })
			}
		}
	}
	do("server a drain --reason demo")
	for _, n := range b.Nodes {
		wait(t, "the override", func() bool { return strings.Contains(n.API.MustRunCommand("explain", "c/a"), "demo") })
	}
	do("drain 2", "etcd kill 1")
	b.WaitNextHops(b.Nodes[0], b.Nodes[2])
	do("ready 2", "etcd start 1", "server a reset")
	b.WaitNextHops(b.Nodes...)
	do("kill 3")
	b.WaitNextHops(b.Nodes[:2]...)
	do("start 3", "stop b")
	b.WaitNextHops(b.Nodes...)
	for _, n := range b.Nodes {
		wait(t, "the verdict", func() bool {
			return strings.Contains(n.API.MustRunCommand("explain", "c/b"), "3 of 3 nodes find it down")
		})
	}
	do("serve b", "status", "weir 2 fleet status", "kill 9", "etcd freeze 1")
	io.WriteString(typist, "quit\n")
	<-done
	for _, want := range []string{"written to the fleet", "the router uses node1 node2 node3", "node node1 of fleet /weir/demo: connected", "node2 (this)", `unknown command "kill 9"`, "want etcd kill|start"} {
		require.Contains(t, out.String(), want)
	}
}
