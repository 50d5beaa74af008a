package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// slowLink takes one write for each token.
type slowLink struct {
	tokens chan error
	got    bytes.Buffer
}

func (l *slowLink) Write(p []byte) (int, error) {
	if err := <-l.tokens; err != nil {
		return 0, err
	}
	return l.got.Write(p)
}

// A write to a link that takes nothing returns at once. The owner learns when the link has taken all.
func TestOutputToSlowLink(t *testing.T) {
	link, drained := &slowLink{tokens: make(chan error)}, make(chan struct{}, 1)
	o := newOutput(link, func() { drained <- struct{}{} })
	require.False(t, o.isBusy())
	text := strings.Repeat("x", 3*outputChunk)
	_, err := o.Write([]byte(text))
	require.NoError(t, err)
	for range 3 {
		require.True(t, o.isBusy())
		link.tokens <- nil
	}
	<-drained
	require.Equal(t, text, link.got.String())
	require.False(t, o.isBusy())
	o.close()
	_, err = o.Write([]byte("x"))
	require.Error(t, err)
	require.Empty(t, drained)
}

// A screen that waits when the program ends is dropped, and what restores the terminal is written.
func TestOutputDiscards(t *testing.T) {
	link := &slowLink{tokens: make(chan error)}
	o := newOutput(link, func() {})
	o.Write([]byte(strings.Repeat("x", 100*outputChunk)))
	link.tokens <- nil
	dropped := 0
	o.drop = func() { dropped++ }
	o.discard()
	o.Write([]byte("end"))
	o.discard() // by the signal that follows the key
	go func() {
		for range 2 { // one chunk may be under way
			select {
			case link.tokens <- nil:
			case <-time.After(10 * time.Second):
			}
		}
	}()
	o.flush()
	require.True(t, strings.HasSuffix(link.got.String(), "xend"))
	require.LessOrEqual(t, link.got.Len(), 2*outputChunk+3)
	o.close()
	o.discard()
	require.Equal(t, 1, dropped, "what restores the terminal may still be on its way")
}

// Nothing waits for a terminal that is lost.
func TestOutputToLostTerminal(t *testing.T) {
	link := &slowLink{tokens: make(chan error, 1)}
	o := newOutput(link, func() {})
	link.tokens <- errors.New("lost")
	o.Write([]byte(strings.Repeat("x", 10*outputChunk)))
	o.flush()
	o.close()
	_, err := o.Write(nil)
	require.EqualError(t, err, "lost")
}
