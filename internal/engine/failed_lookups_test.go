package engine

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A name is a problem from the third failure in a row on, is logged once, and is none after a success or when it has left.
func TestFailedLookups(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	lines := func(part string) int { return strings.Count(log.String(), part) }
	one := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	known := addresses{"a": one, "b": one, "never": nil}
	f := failedLookups{}
	fail := func(at int, names ...string) {
		failed := map[string]error{}
		for _, name := range names {
			failed[name] = errors.New("no such host")
		}
		f.update(logger, nil, known, failed, time.Unix(int64(at), 0))
	}
	fail(1, "a", "never")
	fail(2, "a", "never")
	require.Empty(t, f.problems())
	fail(3, "a", "b", "never")
	require.Len(t, f.problems(), 1)
	require.Equal(t, "a", f.problems()[0].Name)
	require.Equal(t, time.Unix(1, 0), f.problems()[0].Since)
	require.Equal(t, "no such host", f.problems()[0].Reason)
	for at := range 10 {
		fail(4+at, "a")
	}
	require.Equal(t, 1, lines("host name not resolved"))

	// A success between failures starts the count again.
	f.update(logger, addresses{"b": one}, known, nil, time.Unix(20, 0))
	fail(21, "b")
	fail(22, "b")
	require.Len(t, f.problems(), 1)

	f.update(logger, addresses{"a": one}, known, nil, time.Unix(23, 0))
	require.Empty(t, f.problems())
	require.Equal(t, 1, lines("host name resolves again"))
	fail(24, "b")
	require.Len(t, f.problems(), 1)
	f.update(logger, nil, addresses{"a": one}, nil, time.Unix(25, 0)) // a reload has removed b
	require.Empty(t, f)
}
