package upgrade_test

import (
	"os"
	"testing"

	"weir/internal/weirtest"
)

func TestMain(m *testing.M) {
	if how := os.Getenv(heirEnv); how != "" {
		os.Exit(failingHeir(how))
	}
	os.Exit(weirtest.Run(m))
}
