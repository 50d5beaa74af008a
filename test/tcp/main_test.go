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
	if len(os.Args) > 2 && os.Args[1] == withoutIPv6 {
		os.Exit(runWithoutIPv6(os.Args[2:]))
	}
	os.Exit(weirtest.Run(m))
}
