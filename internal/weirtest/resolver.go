package weirtest

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// WithResolver returns the Wrapper of a weir that asks a name server, an IP address whose port is 53, and sees further lines of
// /etc/hosts.
func WithResolver(t *testing.T, server, hosts string) []string {
	t.Helper()
	dir := t.TempDir()
	script := ""
	for name, text := range map[string]string{
		"resolv.conf": "nameserver " + server + "\noptions timeout:1 attempts:2\n",
		"hosts":       "127.0.0.1 localhost\n" + hosts,
	} {
		require.NoError(t, os.WriteFile(dir+"/"+name, []byte(text), 0o644))
		script += fmt.Sprintf("mount --bind %s/%s /etc/%s && ", dir, name, name)
	}
	return []string{"unshare", "-m", "sh", "-c", script + `exec "$@"`, "sh"}
}
