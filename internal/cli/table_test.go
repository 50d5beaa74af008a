package cli

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
)

// A table uses the width that it is given, and cuts the widest columns that may be cut.
func TestTableFitsWidth(t *testing.T) {
	long := strings.Repeat("x", 150)
	for _, width := range []int{40, 80, 120, 200} {
		table := columns("NAME", "!ID", "REASON")
		table.row(long, "argument", long)
		var out strings.Builder
		table.printWithin(&out, "", width)
		longest := 0
		for line := range strings.Lines(out.String()) {
			longest = max(longest, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")))
		}
		require.Equal(t, width, longest)
		require.Contains(t, out.String(), "argument")
	}
}

// A file, a pipe or a buffer has no width.
func TestOutputThatIsNoTerminalIsNotCut(t *testing.T) {
	long := strings.Repeat("x", 500)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	table := columns("NAME")
	table.row(long)
	table.print(write, "")
	write.Close()
	text := make([]byte, 2000)
	n, err := read.Read(text)
	require.NoError(t, err)
	require.Contains(t, string(text[:n]), long)
}

// The width is that of the terminal at the time of the output.
func TestWidthOfTerminal(t *testing.T) {
	master, slave, err := pty.Open()
	require.NoError(t, err)
	defer master.Close()
	defer slave.Close()
	for size, want := range map[int]int{0: 80, 20: minWidth, 80: 80, 120: 120, 200: 200} {
		require.NoError(t, pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: uint16(size)}))
		require.Equal(t, want, widthOf(slave))
	}
}
