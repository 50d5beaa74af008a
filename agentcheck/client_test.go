package agentcheck

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// host is a connection to an agent that sends the contents of Reader.
type host struct {
	io.Reader
	sent   strings.Builder
	broken error
}

func (h *host) Write(p []byte) (int, error) {
	if h.broken != nil {
		return 0, h.broken
	}
	return h.sent.Write(p)
}

func TestQuerySendsVerbatimAndReadsOneLine(t *testing.T) {
	h := &host{Reader: iotest.OneByteReader(strings.NewReader("up\n50%\n"))}
	advice, err := Query(h, []byte("pouet\n"))
	require.NoError(t, err)
	require.Equal(t, Advice{Health: HealthUp, Word: "up"}, advice)
	require.Equal(t, "pouet\n", h.sent.String())
}

func TestQueryStopsAtLineEnd(t *testing.T) {
	// Reading on would block forever on an agent that keeps its connection open.
	h := &host{Reader: io.MultiReader(strings.NewReader("drain\r"), iotest.ErrReader(errors.New("read on")))}
	advice, err := Query(h, nil)
	require.NoError(t, err)
	require.Equal(t, AdminDrain, advice.Admin)
}

func TestQueryOfAgentThatDoesNotRead(t *testing.T) {
	broken := errors.New("broken pipe")
	advice, err := Query(&host{Reader: strings.NewReader("up\n"), broken: broken}, []byte("x"))
	require.NoError(t, err)
	require.Equal(t, HealthUp, advice.Health)
	_, err = Query(&host{Reader: strings.NewReader(""), broken: broken}, []byte("x"))
	require.ErrorIs(t, err, broken)
}

// endless sends "a" forever and counts the bytes read.
type endless struct{ taken int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	e.taken += len(p)
	return len(p), nil
}

func TestQueryRejectsInvalidReplies(t *testing.T) {
	_, err := Query(&host{Reader: strings.NewReader("up")}, nil)
	require.ErrorIs(t, err, ErrIncomplete)
	_, err = Query(&host{Reader: strings.NewReader("")}, nil)
	require.ErrorIs(t, err, ErrEmpty)
	_, err = Query(&host{Reader: iotest.ErrReader(io.ErrClosedPipe)}, nil)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	e := &endless{}
	_, err = Query(&host{Reader: e}, nil)
	require.ErrorIs(t, err, ErrTooLong)
	require.LessOrEqual(t, e.taken, MaxReply)
}
