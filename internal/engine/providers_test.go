package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/discovery"
)

// An answer that cannot be used stays a problem while the provider answers that nothing has changed since.
func TestUnusableAnswerStaysProblemWhileUnchanged(t *testing.T) {
	p := &provider{spec: conf.Discover{Type: "file"}}
	answer := func(addresses ...string) *discovery.Result {
		r := &discovery.Result{At: time.Now()}
		for _, a := range addresses {
			r.Answer.Entries = append(r.Answer.Entries, discovery.Entry{FoundServer: conf.FoundServer{Address: a}})
		}
		return r
	}
	unchanged := &discovery.Result{Err: discovery.ErrUnchanged, At: time.Now()}
	require.True(t, p.accept(answer("10.0.0.1:1")))
	answered := p.answeredAt
	require.False(t, p.accept(answer("nonsense")))
	require.Contains(t, p.err, "none of 1 entries can be used")
	require.False(t, p.accept(&discovery.Result{Err: errors.New("no such file"), At: time.Now()}))
	require.Equal(t, "no such file", p.err)
	require.False(t, p.accept(unchanged))
	require.Contains(t, p.err, "none of 1 entries can be used")
	require.Equal(t, answered, p.answeredAt)
	require.Len(t, p.servers, 1)
	require.EqualValues(t, 3, p.failures)

	require.False(t, p.accept(answer("10.0.0.1:1")))
	require.Empty(t, p.err)
	require.False(t, p.accept(unchanged))
	require.Empty(t, p.err)
}
