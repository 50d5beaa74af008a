package discovery_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Host names in an answer are resolved. One without an address is an unresolved server, and delays neither the others nor a reload.
func TestFoundHostNames(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "A")
	l := newList(t)
	name := fmt.Sprint("localhost:", hosts["A"].AddrPort().Port())
	l.write(group([]string{name, "no-such-host.invalid:1"}))
	w, listen, a := weirtest.ServeAPI(t, found(l.keys()))
	require.Equal(t, "AA", weirtest.ReadSessions(t, listen, 2))
	require.Equal(t, []any{"up", "unresolved"}, []any{a.Server(name)["state"], a.Server("no-such-host.invalid:1")["state"]})
	l.write(group([]string{name, "another.invalid:1"}))
	waitServers(a, name, "another.invalid:1")
	config := found(l.keys())
	config.Listen, config.Cluster = listen, "try = 2"
	w.Reload(a.AddTo(config.String()))
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
}

// A check of the configuration warns of a file that cannot be read: a start would go on without it.
func TestCheckWarnsOfProviderFiles(t *testing.T) {
	t.Parallel()
	l := newList(t)
	config := found(l.keys())
	config.Listen = nettest.Reserve(t)
	file := filepath.Join(t.TempDir(), "weir.toml")
	require.NoError(t, os.WriteFile(file, []byte(config.String()), 0o644))
	old := time.Now().Add(-time.Minute)
	require.NoError(t, os.Chtimes(file, old, old))
	code, out := weirtest.RunCommand(t, "check", "--as", "/etc/weir/weir.toml", file)
	require.Zero(t, code, out)
	require.Regexp(t, `warning: .*weir.toml:\d+:8: cluster.c.level\[0\].discover.path: .*no such file`, out)
	code, out = weirtest.RunCommand(t, "check", "--syntax", file)
	require.Zero(t, code, out)
	require.NotContains(t, out, "no such file")
}
