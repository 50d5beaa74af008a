package checks

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

// specOf returns a check of a type as configured in a file.
func specOf(t *testing.T, kind, options string) conf.Check {
	t.Helper()
	c, err := conf.Parse("weir.toml", fmt.Appendf(nil, `
[[listener]]
name = "l"
address = "127.0.0.1:1"
cluster = "c"
[[cluster.c.level]]
[[cluster.c.check]]
type = %q
%s
`, kind, options))
	require.NoError(t, err)
	return c.Clusters[0].Checks[0]
}

// Every type in the configuration has a monitor.
func TestEveryTypeHasAMonitor(t *testing.T) {
	for _, kind := range conf.CheckTypes() {
		options := map[string]string{"exec": `command = ["true"]`, "agent": "port = 1", "agent_http": "port = 1"}[kind]
		monitor, err := NewMonitor(specOf(t, kind, options))
		require.NoError(t, err, kind)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err = monitor(ctx, Target{Address: "127.0.0.1:1"})
		cancel()
		if kind == "exec" {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, syscall.ECONNREFUSED, kind)
		}
	}
	_, err := NewMonitor(conf.Check{Type: "smtp"})
	require.EqualError(t, err, `unknown type "smtp"`)
}

// Missing files and programs are found when a check is built, not when it runs.
func TestMissingFilesAndProgramsAreRejected(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for kind, options := range map[string]string{
		"redis": fmt.Sprintf("password_file = %q", missing),
		"mysql": fmt.Sprintf("user = \"x\"\npassword_file = %q", missing),
		"pgsql": fmt.Sprintf("user = \"x\"\npassword_file = %q", missing),
		"http":  fmt.Sprintf("tls = true\ntls_ca_file = %q", missing),
		"exec":  fmt.Sprintf("command = [%q]", missing),
	} {
		_, err := NewMonitor(specOf(t, kind, options))
		require.True(t, errors.Is(err, syscall.ENOENT), "%s: %v", kind, err)
		require.Contains(t, err.Error(), missing)
		require.Contains(t, err.Error(), "no such file or directory")
	}
	_, err := NewMonitor(specOf(t, "redis", `password_env = "WEIR_TEST_UNSET"`))
	require.EqualError(t, err, "password_env: WEIR_TEST_UNSET is not set")
}

// The configuration and the monitor accept the same codes.
func TestCodesFromConfiguration(t *testing.T) {
	for _, s := range []string{"200", "2xx", "20X", "200,404", "101 102 2xx 3xx", "abc", "2x0", "xxx", "20", "2000", "099", ",", " ", "200,,404"} {
		_, want := ParseCodes(s)
		_, got := conf.Parse("weir.toml", fmt.Appendf(nil, "[[listener]]\nname = \"l\"\naddress = \":1\"\ncluster = \"c\"\n[[cluster.c.level]]\n[[cluster.c.check]]\ntype = \"http\"\nok_codes = %q\n", s))
		require.Equal(t, want == nil, got == nil, "%q: %v, %v", s, want, got)
	}
}
