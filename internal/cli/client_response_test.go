package cli

import (
	"context"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/internal/status"
)

// peakMemory returns the most memory that the process has had, in bytes.
func peakMemory(t *testing.T) int64 {
	var use syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &use))
	return use.Maxrss << 10
}

// A response without an end is read in bounded memory, whatever it contains.
func TestClientBoundsResponses(t *testing.T) {
	for _, reply := range []struct{ first, piece string }{
		{"", " "}, {`{"clusters": [{}`, `,{}`}, {`{"problems": [`, `{"servers": [""]},`},
	} {
		piece := strings.Repeat(reply.piece, 1<<20/len(reply.piece))
		c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, reply.first)
			for {
				if _, err := io.WriteString(w, piece); err != nil {
					return
				}
			}
		})
		before := peakMemory(t)
		var doc status.Document
		_, err := c.do(context.Background(), http.MethodGet, "/v1/status", nil, &doc)
		require.ErrorContains(t, err, "larger than 64 MB")
		t.Logf("%d MB", (peakMemory(t)-before)>>20)
		require.Less(t, peakMemory(t)-before, int64(raceFactor*200<<20), "%q", reply)
	}
}

// A response of a legal size that decodes into far more memory is rejected before it is decoded.
func TestClientBoundsObjects(t *testing.T) {
	for _, text := range []string{
		`{"clusters": [` + strings.Repeat("{},", maxResponseObjects) + `{}]}`,
		`{"problems": [{"servers": [` + strings.Repeat(`"",`, 10*maxResponseObjects+1) + `""]}]}`,
	} {
		c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
		var doc status.Document
		_, err := c.do(context.Background(), http.MethodGet, "/v1/status", nil, &doc)
		require.ErrorContains(t, err, "more than 400000 objects")
		require.Empty(t, doc.Clusters)
	}
}

// The header of a response is bounded, too.
func TestClientBoundsHeaders(t *testing.T) {
	c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
	})
	_, err := c.do(context.Background(), http.MethodGet, "/v1/status", nil, nil)
	require.ErrorContains(t, err, "cannot reach weir")
}
