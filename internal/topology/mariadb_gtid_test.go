package topology

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func mustMariaDB(t testing.TB, currentPos, binlogPos, binlogState, slavePos string) mariadbGTIDs {
	t.Helper()
	set, err := parseMariaDBGTIDs(currentPos, binlogPos, binlogState, slavePos)
	require.NoError(t, err)
	return set
}

func TestParseMariaDBPosition(t *testing.T) {
	for text, want := range map[string][]mariadbGTID{
		"":                        nil,
		"0-1-100":                 {{mariadbOrigin{0, 1}, 100}},
		"0-1-100,5-2-7":           {{mariadbOrigin{0, 1}, 100}, {mariadbOrigin{5, 2}, 7}},
		"0-1-100, 0-2-7,":         {{mariadbOrigin{0, 1}, 100}, {mariadbOrigin{0, 2}, 7}},
		"4294967295-4294967295-0": {{mariadbOrigin{1<<32 - 1, 1<<32 - 1}, 0}},
	} {
		got, err := parseMariaDBPosition(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"x", "0-1", "0-1-", "0-1-2-3", "-1-2-3", "0--1-2", "4294967296-1-1", uuidA + ":1", "0-1-99999999999999999999", strings.Repeat(",", maxGTIDText+1)} {
		_, err := parseMariaDBPosition(text)
		require.Error(t, err, text)
	}
}

func TestMariaDBGTIDsInclude(t *testing.T) {
	primary := mustMariaDB(t, "0-1-100", "0-1-100", "0-1-100", "")
	for _, c := range []struct {
		name                                      string
		currentPos, binlogPos, binlogState, slave string
		includesPrimary, primaryIncludes          bool
	}{
		{"nothing", "", "", "", "", false, true},
		{"a replica that has everything", "0-1-100", "0-1-100", "0-1-100", "0-1-100", true, true},
		{"a replica without a binary log", "0-1-100", "", "", "0-1-100", true, true},
		{"a replica that lags", "0-1-99", "0-1-99", "0-1-99", "0-1-99", false, true},
		{"promoted with everything", "0-2-103", "0-2-103", "0-1-100,0-2-103", "0-1-100", true, false},
		{"promoted without log_slave_updates", "0-2-103", "0-2-103", "0-2-103", "0-1-100", true, false},
		{"promoted too early", "0-2-103", "0-2-103", "0-1-95,0-2-103", "0-1-95", false, false},
		{"promoted too early, a lower number", "0-2-97", "0-2-97", "0-1-95,0-2-97", "0-1-95", false, false},
		{"the same number from another server", "0-2-100", "0-2-100", "0-2-100", "", false, false},
		{"another domain", "1-2-5", "1-2-5", "1-2-5", "", false, false},
		{"everything and another domain", "0-1-100,1-2-5", "0-1-100,1-2-5", "0-1-100,1-2-5", "0-1-100", true, false},
		{"the number of the server was changed", "0-1-99", "0-1-101", "0-1-101", "0-1-99", true, false},
		{"replicated from it long ago", "0-3-500", "0-3-500", "0-3-500", "0-1-100", true, false},
	} {
		other := mustMariaDB(t, c.currentPos, c.binlogPos, c.binlogState, c.slave)
		require.Equal(t, c.includesPrimary, other.includes(primary), c.name)
		require.Equal(t, c.primaryIncludes, primary.includes(other), c.name)
		require.True(t, other.includes(other), c.name)
	}
}

func FuzzMariaDBGTIDs(f *testing.F) {
	f.Add("0-1-100", "0-1-100", "0-1-100,0-2-5", "0-2-5")
	f.Add("", ",", "1-1", "x")
	f.Fuzz(func(t *testing.T, currentPos, binlogPos, binlogState, slavePos string) {
		set, err := parseMariaDBGTIDs(currentPos, binlogPos, binlogState, slavePos)
		if err != nil {
			return
		}
		if !set.includes(set) || !set.includes(mariadbGTIDs{}) {
			t.Fatal("a set does not include itself")
		}
		if len(set.last)+len(set.seen) > len(currentPos)+len(binlogPos)+len(binlogState)+len(slavePos) {
			t.Fatal("more transactions than text")
		}
	})
}
