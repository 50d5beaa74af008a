package discovery

import (
	"os"
	"testing"

	"weir/internal/nettest"
)

func TestMain(m *testing.M) { os.Exit(nettest.Run(m)) }
