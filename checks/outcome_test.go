package checks

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOutcomeOfError(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for _, c := range []struct {
		err  error
		want Outcome
	}{
		{nil, Passed},
		{cause, Failed},
		{&StandbyError{cause}, Standby},
		{&FullError{cause}, Full},
		{fmt.Errorf("login: %w", &FullError{cause}), Full},
		{fmt.Errorf("INFO: %w", &StandbyError{cause}), Standby},
	} {
		require.Equal(t, c.want, outcomeOf(c.err), "%v", c.err)
	}
	require.EqualError(t, &StandbyError{cause}, "cause")
	require.ErrorIs(t, &FullError{cause}, cause)
}
