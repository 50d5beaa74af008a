package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// The first question to a provider, too, is asked as runtime.user: programs run and files are read without root's rights. No client
// is refused before the answer.
func TestProvidersAreAskedAsRuntimeUser(t *testing.T) {
	t.Parallel()
	program, err := weirtest.StaticProgram()
	require.NoError(t, err)
	host := nettest.Start(t, nettest.SendText("A"))
	dir := sharedDir(t)
	require.NoError(t, os.Chown(dir, 65534, 65534))
	list := filepath.Join(dir, "list")
	require.NoError(t, os.WriteFile(list, []byte(fmt.Sprintf("#!/bin/sh\nsleep 0.3\n{ id -u; grep CapEff /proc/self/status; } >>%s/seen\necho '[{\"targets\": [%q]}]'\n", dir, host.Addr())), 0o755))
	secret := filepath.Join(dir, "secret.conf")
	require.NoError(t, os.WriteFile(secret, []byte("upstream db { server 127.0.0.1:1; }"), 0o600))
	listen := nettest.Reserve(t)
	config := weirtest.Config{
		Listen: listen, Runtime: `user = "nobody"`,
		Levels: [][]string{nil},
		Checks: fmt.Sprintf("[cluster.c.level.discover]\ntype = \"exec\"\ncommand = [%q]\ninterval = \"1s\"\n"+
			"[[cluster.c.level]]\n[cluster.c.level.discover]\ntype = \"nginx\"\npath = %q\nupstream = \"db\"\n", list, secret),
	}
	a := weirtest.NewAPIAt(t, filepath.Join(dir, "api"))
	file := filepath.Join(dir, "weir.toml")
	w := weirtest.Options{Program: program, File: file}.Start(t, a.AddTo(config.String()))
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
	for i, line := range strings.Split(strings.TrimSpace(weirtest.ReadFile(t, filepath.Join(dir, "seen"))), "\n") {
		require.Equal(t, []string{"65534", "CapEff:\t0000000000000000"}[i%2], line)
	}
	require.Contains(t, w.Output(), "secret.conf: permission denied")
}
