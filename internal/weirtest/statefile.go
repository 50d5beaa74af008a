package weirtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/nettest"
)

// StateFile returns a line of [runtime] for a state file of the test's own, and its path.
func StateFile(t *testing.T) (line, path string) {
	path = filepath.Join(t.TempDir(), "state.json")
	return fmt.Sprintf("state_file = %q\n", path), path
}

// WaitSaved waits until the state file holds all of the texts.
func WaitSaved(t *testing.T, path string, texts ...string) {
	t.Helper()
	nettest.Wait(t, patience, "the state to be written", func() bool {
		have, err := os.ReadFile(path)
		for _, text := range texts {
			if err != nil || !strings.Contains(string(have), text) {
				return false
			}
		}
		return true
	})
}
