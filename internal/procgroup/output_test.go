package procgroup

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzOutput passes the output of a program at once and in pieces. The first line is the same and short.
func FuzzOutput(f *testing.F) {
	for _, seed := range []string{"", "fine\nmore\n", "\n  \n reason \r\n", "\x1b[31m\x00\xff", strings.Repeat("a", 3*keptOutput), strings.Repeat("\n", keptOutput) + "late"} {
		f.Add([]byte(seed), 7)
	}
	f.Fuzz(func(t *testing.T, text []byte, piece int) {
		piece = max(1, min(piece, len(text)))
		whole := Command{output: output{limit: len(text)}}
		_, err := whole.output.Write(text)
		require.NoError(t, err)
		pieces := Command{output: output{limit: len(text)}}
		for rest := text; len(rest) > 0; {
			n := min(piece, len(rest))
			_, err := pieces.output.Write(rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
		}
		line := whole.FirstLine()
		require.Equal(t, line, pieces.FirstLine())
		require.LessOrEqual(t, len(line), keptOutput)
		require.Equal(t, strings.TrimSpace(line), line)
		if len(text) > 0 {
			_, err = whole.output.Write([]byte("x"))
			require.ErrorIs(t, err, errTooMuchOutput)
		}
	})
}
