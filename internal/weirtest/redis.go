package weirtest

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// RedisCLI runs redis-cli against an address.
func RedisCLI(t *testing.T, addr string, args ...string) string {
	t.Helper()
	return RunRedisTool(t, "redis-cli", addr, args...)
}

func RunRedisTool(t *testing.T, tool, addr string, args ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	out, err := exec.Command(tool, append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", tool, args, out)
	return string(out)
}

// RedisPings sends n PINGs, one after the other.
func RedisPings(c net.Conn, n int) error {
	c.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(c)
	for range n {
		if err := WriteText(c, "PING\r\n"); err != nil {
			return err
		}
		if line, err := r.ReadString('\n'); err != nil {
			return err
		} else if line != "+PONG\r\n" {
			return fmt.Errorf("PING was answered %q", line)
		}
	}
	return nil
}
