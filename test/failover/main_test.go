// Package failover_test moves the primary of real Redis deployments while clients write through weir, and accounts for
// every acknowledged write, every session and every new connection.
package failover_test

import (
	"os"
	"testing"

	"weir/internal/weirtest"
)

func TestMain(m *testing.M) { os.Exit(weirtest.Run(m)) }
