package weirtest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// RecordFigures appends the results of one run to the file that WEIR_TEST_FIGURES names, if it does, as a line: the name of the
// test, then name=value for each pair of arguments. Durations are in milliseconds. It logs them too.
func RecordFigures(t *testing.T, figures ...any) {
	t.Helper()
	var line strings.Builder
	name, _, _ := strings.Cut(t.Name(), "/#") // subtests without a name are runs of one test
	line.WriteString(name)
	for i := 0; i+1 < len(figures); i += 2 {
		switch v := figures[i+1].(type) {
		case time.Duration:
			fmt.Fprintf(&line, " %s_ms=%.1f", figures[i], float64(v.Microseconds())/1000)
		default:
			fmt.Fprintf(&line, " %s=%v", figures[i], v)
		}
	}
	t.Logf("run: %s", line.String())
	to := os.Getenv("WEIR_TEST_FIGURES")
	if to == "" {
		return
	}
	file, err := os.OpenFile(to, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	_, err = file.WriteString(line.String() + "\n")
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

// Campaign reports whether the tests run at a chosen scale, which may be 1, and not as part of make test.
func Campaign() bool { return os.Getenv("WEIR_TEST_SCALE") != "" }
