package privileges

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLookupUser(t *testing.T) {
	for text, want := range map[string]User{
		"root": {UID: 0, GID: 0}, "0": {UID: 0, GID: 0}, "root:12345": {UID: 0, GID: 12345}, "54321:root": {UID: 54321, GID: 0}, "54321:12345": {UID: 54321, GID: 12345},
	} {
		u, err := LookupUser(text)
		require.NoError(t, err, text)
		require.Equal(t, [2]int{want.UID, want.GID}, [2]int{u.UID, u.GID}, text)
	}
	for text, want := range map[string]string{
		"no-such-user": "unknown user", "": "unknown user", "root:no-such-group": "unknown group no-such-group",
		"54321": "a number without a passwd entry needs a group too, as in \"54321:54321\"",
	} {
		_, err := LookupUser(text)
		require.EqualError(t, err, want, text)
	}
}
