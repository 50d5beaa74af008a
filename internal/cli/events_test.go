package cli

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/internal/status"
)

// Events that were not received are not passed over in silence.
func TestInterruptedEventStreamIsAnError(t *testing.T) {
	count := func(stream io.Reader) (n int, err error) {
		err = eachEvent(stream, func(status.Event, string) error { n++; return nil })
		return n, err
	}
	const event = "id: 1\nevent: reload\ndata: {\"event\": \"reload\"}\n\n"
	n, err := count(strings.NewReader(event + event))
	require.NoError(t, err)
	require.Equal(t, 2, n)
	n, err = count(io.MultiReader(strings.NewReader(event), brokenReader{}))
	require.ErrorIs(t, err, errStreamCut)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, 1, n)
	n, err = count(strings.NewReader(event + "data: " + strings.Repeat("x", maxEvent) + "\n\n" + event))
	require.ErrorContains(t, err, "invalid event")
	require.False(t, errors.Is(err, errStreamCut))
	require.Equal(t, 1, n)
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
