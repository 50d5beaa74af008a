package fleet

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDecodeVerdictsRejectsHostileValues(t *testing.T) {
	key := VerdictKey("n1", "c")
	for text, want := range map[string]string{
		`{"v":1,"down":["a","a"]}`: "each once",
		`{"v":1,"down":["b","a"]}`: "sorted",
		`{"v":1,"more":-1}`:        "want at most",
		`{"v":1,"down":"a"}`:       "cannot unmarshal",
		`{"v":2,"down":["a"]}`:     "want 1, got 2",
		`{"down":["a"]}`:           "v: missing",
		fmt.Sprintf(`{"v":1,"down":%s}`, manyNames(MaxVerdicts+1)): "want at most 1000 names",
	} {
		_, _, _, err := decodeVerdicts(Record{Key: key, Value: []byte(text), Leased: true})
		require.ErrorContains(t, err, want, text)
	}
	_, _, _, err := decodeVerdicts(Record{Key: key, Value: []byte(`{"v":1}`)})
	require.ErrorContains(t, err, "no lease")
	_, _, _, err = decodeVerdicts(Record{Key: "verdicts/n1", Value: []byte(`{"v":1}`), Leased: true})
	require.ErrorContains(t, err, "not the key")
	node, cluster, v, err := decodeVerdicts(Record{Key: key, Value: []byte(`{"v":1,"down":["a","b"],"more":2}`), Leased: true})
	require.NoError(t, err)
	require.Equal(t, []any{"n1", "c", &Verdicts{Down: []string{"a", "b"}, More: 2}}, []any{node, cluster, v})
}

func manyNames(n int) string {
	text := "["
	for i := range n {
		text += fmt.Sprintf(`"s%05d",`, i)
	}
	return text[:len(text)-1] + "]"
}

// FuzzVerdicts checks that no record makes a node count more than once, or more nodes than there are.
func FuzzVerdicts(f *testing.F) {
	f.Add("verdicts/n1/c", `{"v":1,"down":["a"]}`, true)
	f.Add("verdicts/n2/c", `{"v":1,"down":["a","a"],"more":3}`, true)
	f.Add("verdicts/n2", `[`, false)
	f.Fuzz(func(t *testing.T, key, value string, leased bool) {
		var b board
		b.take(Record{Key: "verdicts/n1/c", Value: []byte(`{"v":1,"down":["a"]}`), Leased: true})
		b.take(Record{Key: key, Value: []byte(value), Leased: leased})
		for cluster, lists := range b.clusters {
			votes := b.votes(cluster, "self", func(string) bool { return true })
			for server := range votes.down {
				nodes, down := votes.Of(server)
				require.LessOrEqual(t, len(down), nodes)
				require.LessOrEqual(t, nodes, len(lists))
				require.LessOrEqual(t, len(Who(down)), 10*maxText)
			}
		}
		b.remove(key)
		require.LessOrEqual(t, b.records, 1)
		require.GreaterOrEqual(t, b.records, 0)
	})
}
