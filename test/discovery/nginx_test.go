package discovery_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// nginxConfig is a directory with a configuration that nginx accepts.
type nginxConfig struct {
	t   *testing.T
	dir string
}

// write replaces a file, and requires that nginx accepts the whole configuration.
func (n nginxConfig) write(name, text string) {
	n.t.Helper()
	path := filepath.Join(n.dir, name)
	require.NoError(n.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(n.t, os.WriteFile(path+".new", []byte(text), 0o644))
	require.NoError(n.t, os.Rename(path+".new", path))
	if name != "nginx.conf" {
		n.verify()
	}
}

func (n nginxConfig) verify() {
	n.t.Helper()
	out, err := exec.Command("nginx", "-t", "-p", n.dir, "-c", filepath.Join(n.dir, "nginx.conf")).CombinedOutput()
	require.NoError(n.t, err, "%s", out)
}

// main returns a configuration that includes the upstream blocks.
func (n nginxConfig) main() string {
	return fmt.Sprintf(`load_module /usr/lib/nginx/modules/ngx_stream_module.so;
pid %[1]s/nginx.pid; error_log %[1]s/error.log;
events { worker_connections 64; }
stream {
	include upstreams/*.conf;   # the servers
	server { listen 127.0.0.1:1; proxy_pass db; }
}
`, n.dir)
}

// The servers of an upstream block of a real configuration, with includes; the backup servers are another level. A file that
// appears is read within a second.
func TestNginxUpstream(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABCDE")
	n := nginxConfig{t, t.TempDir()}
	n.write("nginx.conf", n.main())
	db := func(more string) string {
		return fmt.Sprintf("upstream db {\n\tleast_conn; zone db 64k; # comment\n\tserver %s weight=5 max_fails=2 fail_timeout=1m30s max_conns=100;\n\tserver '%s' down;\n\tserver %s backup weight=2;\n%s}\n",
			hosts["A"].Addr(), hosts["B"].Addr(), hosts["C"].Addr(), more)
	}
	n.write("upstreams/db.conf", db("")+"upstream other { server 127.0.0.1:1; }\n")
	provider := fmt.Sprintf("[cluster.c.level.discover]\ntype = \"nginx\"\npath = %q\nupstream = \"db\"\ninterval = \"1h\"\n", filepath.Join(n.dir, "nginx.conf"))
	config := weirtest.Config{Levels: [][]string{nil}, Checks: provider + "[[cluster.c.level]]\n" + provider + "only_backup = true\n"}
	_, listen, a := weirtest.ServeAPI(t, config)
	require.Equal(t, "AA", weirtest.ReadSessions(t, listen, 2))
	require.ElementsMatch(t, addresses(hosts, "AB"), servers(a, 0))
	require.Equal(t, addresses(hosts, "C"), servers(a, 1))
	s := a.Server(hosts["A"].Addr())
	require.Equal(t, []any{5.0, 100.0, "maint", 2.0}, []any{s["weight"], s["max_sessions"], a.Server(hosts["B"].Addr())["state"], a.Server(hosts["C"].Addr())["weight"]})
	require.Contains(t, a.MustRunCommand("discover", "c"), "fail_timeout=1m30s max_fails=2 max_sessions=100 weight=5")

	n.write("upstreams/db.conf", db(fmt.Sprintf("\tserver %s;\n\tserver %s backup;\n", hosts["D"].Addr(), hosts["E"].Addr())))
	waitServers(a, addresses(hosts, "ABD")...)
	nettest.Wait(t, weirtest.Bound(5e9), "the other backup server", func() bool { return len(servers(a, 1)) == 2 })
	require.NoError(t, os.Remove(filepath.Join(n.dir, "upstreams/db.conf")))
	waitProblem(a, "upstream db not found")
	require.ElementsMatch(t, addresses(hosts, "ABD"), servers(a, 0))
	n.write("upstreams/moved.conf", fmt.Sprintf("upstream db { server %s; }\n", hosts["E"].Addr()))
	waitServers(a, addresses(hosts, "E")...)
	require.NoError(t, os.WriteFile(filepath.Join(n.dir, "upstreams/moved.conf"), []byte("upstream db { server "), 0o644))
	waitProblem(a, "provider of level 1 (nginx) fails")
	require.Equal(t, "E", weirtest.ReadSessions(t, listen, 1))
}
