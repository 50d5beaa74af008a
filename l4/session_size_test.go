package l4

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// A session is allocated in the size class of 320 bytes.
func TestSessionSize(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(session{}), uintptr(320))
}
