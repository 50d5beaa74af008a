package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStaysAfterUpgrade(t *testing.T) {
	for _, c := range []struct {
		pid              int
		adopts, notified bool
		parent           string
		want             bool
	}{
		{pid: 1, parent: "", want: true},
		{pid: 1, notified: true, want: true},
		{pid: 7, parent: "tini", want: true},
		{pid: 7, parent: "runsv", want: true},
		{pid: 7, parent: "tini", notified: true, want: false},
		{pid: 7, adopts: true, parent: "sh", want: true},
		{pid: 7, parent: "systemd", notified: true, want: false},
		{pid: 7, parent: "bash", want: false},
		{pid: 7, parent: "", want: false},
	} {
		require.Equal(t, c.want, staysAfterUpgrade(c.pid, c.adopts, c.notified, c.parent), "%+v", c)
	}
}
