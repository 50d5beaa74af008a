// Package rollout_test rolls shared configurations out to three weirs, each in a network namespace of its own, with a real
// etcd and with clients at every node.
package rollout_test

import (
	"fmt"
	"os"
	"testing"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// homeFile is the network namespace of the test. The one of its process may be that of a node for moments: its first thread
// is used for any.
var homeFile *os.File

func TestMain(m *testing.M) {
	if err := nettest.Isolate(); err != nil { // the addresses of the nodes concern no other process
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var err error
	if homeFile, err = os.Open("/proc/self/ns/net"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(weirtest.Run(m))
}
