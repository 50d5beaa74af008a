package promotion_test

import (
	"os"
	"testing"

	"weir/internal/weirtest"
)

func TestMain(m *testing.M) { os.Exit(weirtest.Run(m)) }
