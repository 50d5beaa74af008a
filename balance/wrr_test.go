package balance

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sequence picks n times, each session ending at once, and returns the servers' names in a row.
func sequence(t *testing.T, c *Cluster, n int) string {
	t.Helper()
	var names strings.Builder
	for range n {
		lease, err := c.Pick(0, &Trial{})
		require.NoError(t, err)
		names.WriteString(lease.Server().Name())
		lease.Done(0)
	}
	return names.String()
}

// level returns a level of servers named A, B, C … with the given weights.
func levelOf(weights ...int) LevelSpec {
	var l LevelSpec
	for i, w := range weights {
		name := string(rune('A' + i))
		l.Servers = append(l.Servers, ServerSpec{Name: name, Address: "10.0.0." + name + ":6379", Weight: w})
	}
	return l
}

func TestWrrSequences(t *testing.T) {
	for _, test := range []struct {
		weights []int
		n       int
		want    string
	}{
		{[]int{1, 4}, 15, "BBABBBBABBBBABB"},
		{[]int{5, 1, 1}, 14, "AABACAAAABACAA"},
		{[]int{3, 2, 1}, 12, "ABACBAABACBA"},
		{[]int{1, 4, 3, 0, 6}, 28, "EBCEBEACEBECBEEBCEBEACEBECBE"},
		{[]int{1, 1, 1}, 6, "ABCABC"},
		{[]int{0, 0, 0}, 6, "ABCABC"},
		{[]int{0, 1, 0}, 3, "BBB"},
		{[]int{256}, 3, "AAA"},
	} {
		c := New(Spec{Levels: []LevelSpec{levelOf(test.weights...)}}, 0, nil)
		require.Equal(t, test.want, sequence(t, c, test.n), "weights %v", test.weights)
	}
}
