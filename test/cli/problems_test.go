// Problems in the output of weir status.

package cli_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

func TestStatusShowsProblemsFirst(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("A"))
	names := []string{host.Addr() + " name=good state=ready"}
	for i := range 60 {
		names = append(names, fmt.Sprintf("%s name=s%d", host.Addr(), i))
	}
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(names...), More: weirtest.ListenerTables("dead", nettest.Reserve(t), "127.0.0.1:1", "127.0.0.1:2") +
		"[[cluster.dead.check]]\ntype = \"tcp\"\ninterval = \"30ms\"\nfall = 1\n"}
	w, _, a := weirtest.ServeAPI(t, l)
	require.Contains(t, a.MustRunCommand("status", "c"), "s59", "a cluster that is asked for is shown whole")
	nettest.Wait(t, 10*time.Second, "the cluster to be found dead", func() bool {
		return strings.Contains(a.MustRunCommand("status"), "CRITICAL  dead: no healthy server")
	})
	code, _ := a.Do("PATCH /v1/clusters/c/servers/s7", `{"state": "maint", "reason": "\u001b[2J\u202e"}`)
	require.Equal(t, 400, code, "a reason with control characters is rejected")
	a.MustDo("PATCH /v1/clusters/c/servers/s7", `{"state": "maint", "reason": "new kernel"}`)
	w.WriteConfig("what is this")
	code, _ = a.Do("POST /v1/reload", "")
	require.Equal(t, 422, code)

	out := a.MustRunCommand("status")
	lines := strings.Split(out, "\n")
	require.Less(t, len(lines), 40, out)
	require.True(t, strings.HasPrefix(lines[3], "CRITICAL  dead: "), out)
	require.Contains(t, lines[4], "connection refused")
	require.True(t, strings.HasPrefix(lines[5], "WARNING  last reload failed"), out)
	require.Contains(t, lines[6], w.File)
	require.Less(t, strings.Index(out, "\ndead: "), strings.Index(out, "\nc: "), "clusters with problems before others")
	require.Contains(t, out, "NOTE  c: s7: maint since ")
	require.Contains(t, out, "(60 of 61)  up")
	require.NotContains(t, out, "\x1b", "no colours but on a terminal, and nothing that others have sent")
	require.NotContains(t, out, "\u202e")
}

// Colors are used on terminals, or on request.
func TestColours(t *testing.T) {
	t.Parallel()
	_, _, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel("127.0.0.1:1 name=A", "127.0.0.1:2 name=B state=maint")})
	for env, coloured := range map[string]bool{"NO_COLOR=": true, "NO_COLOR=1": false, "TERM=dumb": false} {
		for _, command := range []string{"status", "explain c/B"} {
			cmd := exec.Command(weirtest.Binary, append(strings.Fields(command), "--admin", "unix:"+a.Socket)...)
			cmd.Env = append(os.Environ(), "TERM=xterm", "NO_COLOR=", env)
			master, err := pty.Start(cmd)
			require.NoError(t, err)
			out, _ := io.ReadAll(master) // ends with an error, as terminals do
			require.NoError(t, cmd.Wait())
			require.NoError(t, master.Close())
			require.Contains(t, string(out), "maint")
			require.Equal(t, coloured, strings.Contains(string(out), "\x1b["), "%s %s: %q", env, command, out)
		}
	}
}
