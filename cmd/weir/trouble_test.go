// What is wrong comes first, in one screen.

package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

func TestStatusShowsTroublesFirst(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Say("A"))
	names := []string{host.Addr() + " name=good state=ready"}
	for i := range 60 {
		names = append(names, fmt.Sprintf("%s name=s%d", host.Addr(), i))
	}
	l := layout{listen: nettest.Reserve(t), levels: servers(names...), more: pair("dead", nettest.Reserve(t), "127.0.0.1:1", "127.0.0.1:2") +
		"[[cluster.dead.check]]\ntype = \"tcp\"\ninterval = \"30ms\"\nfall = 1\n"}
	w, _, a := administered(t, l)
	require.Contains(t, a.done("status", "c"), "s59", "a cluster that is asked for is shown whole")
	nettest.Wait(t, 10*time.Second, "the cluster to be found dead", func() bool {
		return strings.Contains(a.done("status"), "CRITICAL  dead: no server is healthy")
	})
	a.ok("PATCH /v1/clusters/c/servers/s7", `{"state": "maint", "reason": "\u001b[2J\u202enobody"}`)
	w.write("what is this")
	code, _ := a.do("POST /v1/reload", "")
	require.Equal(t, 422, code)

	out := a.done("status")
	lines := strings.Split(out, "\n")
	require.Less(t, len(lines), 40, out)
	require.True(t, strings.HasPrefix(lines[3], "CRITICAL  dead: "), out)
	require.True(t, strings.HasPrefix(lines[4], "WARNING  the last reload was refused"), out)
	require.Contains(t, lines[5], w.file)
	require.Contains(t, out, "NOTE  c: s7: maint since ")
	require.Contains(t, out, "(60 of 61)  up")
	require.NotContains(t, out, "\x1b", "no colours but on a terminal, and nothing that others have sent")
	require.NotContains(t, out, "\u202e")
}
