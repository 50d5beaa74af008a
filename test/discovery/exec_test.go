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

// script writes a program.
func script(t *testing.T, path, body string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	require.NoError(t, os.Rename(path+".new", path))
}

// A program prints the servers. It knows its cluster and level, and is killed after the timeout with what it has started.
func TestProgramLists(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	path := filepath.Join(t.TempDir(), "list")
	script(t, path, fmt.Sprintf(`echo warning >&2; echo '[{"targets": ["%s"], "labels": {"name": "'$WEIR_CLUSTER-$WEIR_LEVEL-$1'"}}]'`, hosts["A"].Addr()))
	_, listen, a := weirtest.ServeAPI(t, found(fmt.Sprintf("type = \"exec\"\ncommand = [%q, \"x\"]\ninterval = \"200ms\"\ntimeout = \"500ms\"\n", path)))
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
	require.Equal(t, []string{"c-1-x"}, servers(a, 0))
	script(t, path, "echo cannot reach the inventory >&2; exit 3")
	waitProblem(a, `exit status 3: "cannot reach the inventory"`)
	script(t, path, "sleep 1000 & sleep 1000")
	waitProblem(a, "no answer within 500ms")
	script(t, path, "head -c 20000000 /dev/zero")
	waitProblem(a, "output larger than 16 MB")
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
	script(t, path, fmt.Sprintf(`echo '[{"targets": ["%s"]}]'`, hosts["B"].Addr()))
	nettest.Wait(t, weirtest.Bound(5*time.Second), "B to serve", func() bool { return weirtest.ReadSessions(t, listen, 1) == "B" })
	waitNoProblem(a)
}

// A program that does not exist is an error of the configuration; and the API may not bring programs or files.
func TestProgramRules(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "A")
	config := found("type = \"exec\"\ncommand = [\"/no/such/program\"]\n")
	config.Listen = "127.0.0.1:1"
	file := filepath.Join(t.TempDir(), "weir.toml")
	require.NoError(t, os.WriteFile(file, []byte(config.String()), 0o644))
	code, out := weirtest.RunCommand(t, "check", "-c", file)
	require.Equal(t, 1, code)
	require.Contains(t, out, "cluster.c.level[0].discover.command: ")
	code, out = weirtest.RunCommand(t, "check", "-c", file, "--syntax")
	require.Zero(t, code, out)

	_, _, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(hosts["A"].Addr())})
	for body, field := range map[string]string{
		`{"levels": [{"discover": {"type": "exec", "command": ["/bin/true"]}}]}`:                                  "levels[0].discover.type",
		`{"levels": [{"discover": {"type": "file", "path": "/etc/passwd"}}]}`:                                     "levels[0].discover.path",
		`{"levels": [{"discover": {"type": "http", "url": "http://127.0.0.1:1/", "token_file": "/etc/shadow"}}]}`: "levels[0].discover.token_file",
	} {
		code, out := a.Do("PUT /v1/clusters/c", body)
		require.Equal(t, 403, code, out)
		require.Contains(t, out, field)
	}
	code, out = a.Do("PUT /v1/clusters/c", `{"levels": [{"discover": {"type": "http", "url": "http://127.0.0.1:1/", "timeout": "100ms"}}]}`)
	require.Equal(t, 200, code, out)
	require.Contains(t, problems(a), "has not answered yet")
}
