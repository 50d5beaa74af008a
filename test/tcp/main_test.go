package tcp_test

import (
	"os"
	"testing"

	"weir/internal/weirtest"
)

func TestMain(m *testing.M) {
	if server := os.Getenv(relayEnv); server != "" {
		os.Exit(runPlainRelay(server))
	}
	os.Exit(weirtest.Run(m))
}
