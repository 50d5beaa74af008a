package progress

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// On a terminal the text replaces the last one, is as wide as the terminal at most, and other output comes above it.
func TestLineOnTerminal(t *testing.T) {
	var out strings.Builder
	l := New(&out, 0)
	l.width = func() int { return 20 }
	l.Show("12 sessions left")
	l.Show("12 sessions left")
	l.Show("3 sessions left of very many")
	fmt.Fprintln(l, "result")
	l.Show("")
	fmt.Fprintln(l, "end")
	require.Equal(t, "\r12 sessions left\x1b[K"+
		"\r3 sessions left of…\x1b[K"+
		"\r\x1b[Kresult\n3 sessions left of…"+
		"\r\x1b[K"+"end\n", out.String())
}

// Elsewhere lines have no control characters and are at least the pause apart.
func TestLineElsewhere(t *testing.T) {
	var out strings.Builder
	l := New(&out, time.Hour)
	require.False(t, l.Terminal())
	l.Show("12 sessions left")
	l.Show("3 sessions left")
	require.Equal(t, "12 sessions left\n", out.String())
	l.at = time.Now().Add(-2 * time.Hour)
	l.Show("12 sessions left")
	require.Equal(t, "12 sessions left\n", out.String(), "nothing has changed")
	l.Show("1 session left")
	l.Show("")
	require.Equal(t, "12 sessions left\n1 session left\n", out.String())

	out.Reset()
	l = New(&out, 0)
	l.Show("12 sessions left")
	fmt.Fprintln(l, "result")
	require.Equal(t, "result\n", out.String())
}

func TestEveryEndsWithItsStop(t *testing.T) {
	var out strings.Builder
	l := New(&out, 0)
	l.width = func() int { return 80 }
	shown := make(chan struct{}, 100)
	stop := l.Every(time.Millisecond, func() string { shown <- struct{}{}; return "busy" })
	<-shown
	<-shown
	stop()
	stop()
	require.Equal(t, "\rbusy\x1b[K\r\x1b[K", out.String())
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Second: "0s", 0: "0s", time.Millisecond: "1s", 61 * time.Second: "1m1s", 61*time.Second + 1: "1m2s"} {
		require.Equal(t, want, Seconds(d))
	}
}
