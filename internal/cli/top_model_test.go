package cli

import (
	"io"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/require"
)

// Escape sequences that arrive in pieces, as over a slow link, are one key each.
func TestSplitEscapeSequence(t *testing.T) {
	for text, want := range map[string]string{"\x1b[B": "b", "\x1bOB": "b", "\x1b[6~": "c", "\x1b[F": "c"} {
		for at := 2; at < len(text); at++ {
			in, keys := io.Pipe()
			s := newScreen(false)
			s.show(docOf(1, 1, 1, 2, 3))
			m := &topModel{screen: s, ctx: t.Context(), width: 80, height: 24}
			p := tea.NewProgram(m, tea.WithInput(in), tea.WithOutput(io.Discard), tea.WithoutSignalHandler(), tea.WithWindowSize(80, 24))
			done := make(chan error, 1)
			go func() {
				_, err := p.Run()
				done <- err
			}()
			for _, part := range []string{text[:at], text[at:], "q"} { // each is read by a call of its own
				_, err := io.WriteString(keys, part)
				require.NoError(t, err)
			}
			select {
			case err := <-done:
				require.NoError(t, err)
			case <-time.After(10 * time.Second):
				require.Fail(t, "weir top does not quit")
			}
			keys.Close()
			require.Equal(t, want, s.selected.server, "%q and %q", text[:at], text[at:])
		}
	}
}

// Pasted text edits the filter, and does nothing else.
func TestPaste(t *testing.T) {
	s := newScreen(false)
	s.show(docOf(1, 1, 1, 2))
	m := &topModel{screen: s, ctx: t.Context(), width: 80, height: 24}
	_, cmd := m.Update(tea.PasteMsg{Content: "dy"})
	require.Nil(t, cmd)
	require.Empty(t, s.filter)
	s.press("/")
	m.Update(tea.PasteMsg{Content: "c/b"})
	require.Equal(t, "c/b", s.filter)
	require.Equal(t, "b", s.selected.server)
}
