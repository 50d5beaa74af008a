package nettest

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// StartHAProxy runs the installed HAProxy with a configuration until the test ends. It returns when HAProxy listens on
// addr.
func StartHAProxy(t testing.TB, addr, config string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	p := startProgram(t, "haproxy", "-db", "-f", file)
	p.waitReady(t, 30*time.Second, func() bool { return listens(addr) })
}

// StartNginx runs the installed nginx with the contents of its stream block until the test ends. It returns when nginx
// listens on addr.
func StartNginx(t testing.TB, addr, stream string) {
	t.Helper()
	dir := t.TempDir()
	config := "daemon off;\nmaster_process off;\npid " + dir + "/pid;\nerror_log stderr;\nevents {}\nstream {\n" + stream + "\n}\n"
	const module = "/usr/lib/nginx/modules/ngx_stream_module.so" // on Debian; built in elsewhere
	if _, err := os.Stat(module); err == nil {
		config = "load_module " + module + ";\n" + config
	}
	file := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	p := startProgram(t, "nginx", "-p", dir, "-e", "stderr", "-c", file)
	p.waitReady(t, 30*time.Second, func() bool { return listens(addr) })
}

func listens(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
