package topology

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	uuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	uuidB = "896e7882-18fe-11ef-ab88-22222d34d411"
)

func TestParseMySQLGTIDs(t *testing.T) {
	for text, want := range map[string]mysqlGTIDs{
		"":                                  {},
		"\n":                                {},
		uuidA + ":1":                        {uuidA: {{1, 1}}},
		uuidA + ":1-5":                      {uuidA: {{1, 5}}},
		strings.ToUpper(uuidA) + ":1-5":     {uuidA: {{1, 5}}},
		uuidA + ":1-3:11:47-49":             {uuidA: {{1, 3}, {11, 11}, {47, 49}}},
		uuidA + ":47-49:4-5:1-3":            {uuidA: {{1, 5}, {47, 49}}},
		uuidA + ":1-5,\n" + uuidB + ":7":    {uuidA: {{1, 5}}, uuidB: {{7, 7}}},
		uuidA + ":1-5," + uuidA + ":3-9":    {uuidA: {{1, 9}}},
		uuidA + ":1-4:domain_1:1:abc:1-3:9": {uuidA: {{1, 4}}, uuidA + ":domain_1": {{1, 1}}, uuidA + ":abc": {{1, 3}, {9, 9}}},
		uuidA + ":Tag:2":                    {uuidA + ":tag": {{2, 2}}},
		uuidA + ":9223372036854775807":      {uuidA: {{1<<63 - 1, 1<<63 - 1}}},
		" " + uuidA + " : 1 - 5 , ":         {uuidA: {{1, 5}}},
	} {
		got, err := parseMySQLGTIDs(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"x", uuidA, uuidA + ":", uuidA + ":0", uuidA + ":0-5", uuidA + ":5-1", uuidA + ":-5", uuidA + ":+5", uuidA + ":1-", uuidA + ":1:",
		uuidA + ":tag", uuidA + ":1:tag", uuidA + ":9223372036854775808", uuidA[1:] + ":1", "0-1-100", "g" + uuidA[1:] + ":1",
		uuidA + ":" + strings.Repeat("a", 33) + ":1", strings.Repeat(" ", maxGTIDText+1),
	} {
		_, err := parseMySQLGTIDs(text)
		require.Error(t, err, text)
		require.Less(t, len(err.Error()), 300)
	}
}

func TestMySQLGTIDsInclude(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"", "", true},
		{uuidA + ":1-5", "", true},
		{"", uuidA + ":1", false},
		{uuidA + ":1-5", uuidA + ":1-5", true},
		{uuidA + ":1-5", uuidA + ":2-3", true},
		{uuidA + ":1-5", uuidA + ":2-3:5", true},
		{uuidA + ":1-5", uuidA + ":5-6", false},
		{uuidA + ":1-5:7-9", uuidA + ":5-7", false},
		{uuidA + ":1-5:7-9", uuidA + ":5:7", true},
		{uuidA + ":1-5", uuidB + ":1", false},
		{uuidA + ":1-5", uuidA + ":tag:1", false},
		{uuidA + ":1-5:tag:1", uuidA + ":tag:1", true},
		{uuidA + ":1-5," + uuidB + ":1-9", uuidB + ":3," + uuidA + ":1", true},
	} {
		require.Equal(t, c.want, mustMySQL(t, c.a).includes(mustMySQL(t, c.b)), "%s ⊇ %s", c.a, c.b)
	}
}

func mustMySQL(t testing.TB, text string) mysqlGTIDs {
	t.Helper()
	set, err := parseMySQLGTIDs(text)
	require.NoError(t, err)
	return set
}

// Sets of spans compare as sets of numbers do.
func TestMySQLGTIDsIncludeLikeSets(t *testing.T) {
	const numbers = 14
	random := func() (string, map[string]bool) {
		set := map[string]bool{}
		var text []string
		for range rand.IntN(5) {
			source := []string{uuidA, uuidB, uuidA + ":tag"}[rand.IntN(3)]
			first := 1 + rand.IntN(numbers)
			last := min(numbers, first+rand.IntN(5))
			text = append(text, fmt.Sprintf("%s:%d-%d", source, first, last))
			for n := first; n <= last; n++ {
				set[fmt.Sprint(source, n)] = true
			}
		}
		return strings.Join(text, ","), set
	}
	for range 3000 {
		a, setA := random()
		b, setB := random()
		want := true
		for n := range setB {
			want = want && setA[n]
		}
		require.Equal(t, want, mustMySQL(t, a).includes(mustMySQL(t, b)), "%s ⊇ %s", a, b)
	}
}

func FuzzMySQLGTIDs(f *testing.F) {
	for _, text := range []string{"", uuidA + ":1-5:7", uuidA + ":1-4:aaaa:1:abc:1-3,\n" + uuidB + ":1-2", uuidA + ":5-1", "0-1-2", ":::,,,"} {
		f.Add(text, uuidA+":1")
	}
	f.Fuzz(func(t *testing.T, x, y string) {
		a, err := parseMySQLGTIDs(x)
		if err != nil {
			return
		}
		if !a.includes(a) || !a.includes(mysqlGTIDs{}) {
			t.Fatalf("%q does not include itself", x)
		}
		spans := 0
		for source, list := range a {
			for i, s := range list {
				if s.first == 0 || s.last < s.first || i > 0 && s.first <= list[i-1].last+1 {
					t.Fatalf("%q: %s: %v", x, source, list)
				}
			}
			spans += len(list)
		}
		if spans > len(x) {
			t.Fatalf("%d spans of %d bytes", spans, len(x))
		}
		b, err := parseMySQLGTIDs(y)
		if err != nil {
			return
		}
		if both, err := parseMySQLGTIDs(x + "," + y); err == nil && (!both.includes(a) || !both.includes(b)) {
			t.Fatalf("%q with %q does not include both", x, y)
		}
	})
}
