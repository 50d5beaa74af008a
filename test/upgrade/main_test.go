package upgrade_test

import (
	"os"
	"testing"

	"weir/internal/weirtest"
)

func TestMain(m *testing.M) {
	if how := os.Getenv(successorEnv); how != "" {
		os.Exit(runFailingSuccessor(how))
	}
	os.Exit(weirtest.Run(m))
}
