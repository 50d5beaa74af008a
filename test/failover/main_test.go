// Package failover_test moves the primary of real deployments of Redis, MariaDB and Galera while clients write through weir,
// and accounts for every acknowledged write, every session and every new connection.
package failover_test

import (
	"fmt"
	"os"
	"testing"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

func TestMain(m *testing.M) {
	if err := nettest.Isolate(); err != nil { // links are cut by packet filters
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(weirtest.Run(m))
}
