package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestErrorsCannotControlTheTerminal(t *testing.T) {
	var out strings.Builder
	require.Equal(t, ExitUnreachable, ExitCode(ExitError{ExitUnreachable, errors.New("two\nlines \x1b[31mred\r\u202e")}, &out))
	require.Equal(t, "weir: two\nlines ·[31mred··\n", out.String())
}
