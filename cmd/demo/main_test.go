package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// The next server and the next level take over, no client sees an error, and the better level serves again when it is
// back.
func TestScriptedFailover(t *testing.T) {
	binary := buildWeir(t)
	var out, errs bytes.Buffer
	code := run([]string{"-weir", binary, "-listen", nettest.Reserve(t), "-script", "-step", "3s"},
		strings.NewReader(""), &out, &errs)
	require.Zero(t, code, "%s%s", out.String(), errs.String())
	text := out.String()
	require.NotContains(t, text, "error")
	for _, scene := range []string{
		"server a is stopped", "b b b b b b b b",
		"server b is stopped", "c c c c c c c c",
		"server a is started", "a a a a a a a a",
		"server b is started", "b",
	} {
		_, after, found := strings.Cut(text, scene)
		require.True(t, found, "%q is missing or too early in\n%s", scene, out.String())
		text = after
	}
}

func buildWeir(t *testing.T) (binary string) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "weir")
	build, err := exec.Command("go", "build", "-o", binary, "weir/cmd/weir").CombinedOutput()
	require.NoError(t, err, "%s", build)
	return binary
}

// output is what the demonstration has printed so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// find waits for the pattern and returns its first group.
func (o *output) find(t *testing.T, pattern string) (group string) {
	t.Helper()
	nettest.Wait(t, 20*time.Second, pattern, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		m := regexp.MustCompile(pattern).FindStringSubmatch(o.text.String())
		if m != nil {
			group = m[len(m)-1]
		}
		return m != nil
	})
	return group
}

// The demonstration says where its dashboard and socket are, acknowledges reloads, and prints at most one line in a second while
// no server responds.
func TestInteractiveDemo(t *testing.T) {
	binary := buildWeir(t)
	stdin, input := io.Pipe()
	var out output
	var errs bytes.Buffer
	done := make(chan int)
	go func() {
		done <- run([]string{"-weir", binary, "-listen", nettest.Reserve(t)}, stdin, &out, &errs)
	}()
	pid, err := strconv.Atoi(out.find(t, `kill -HUP (\d+)`))
	require.NoError(t, err)
	res, err := http.Get(out.find(t, `(http://127\.0\.0\.1:\d+/)`))
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, 200, res.StatusCode)
	status, err := exec.Command(binary, "status", "--admin", out.find(t, `WEIR_ADMIN=(\S+)`)).CombinedOutput()
	require.NoError(t, err, "%s", status)

	out.find(t, `served by  [ab]`)
	require.NoError(t, syscall.Kill(pid, syscall.SIGHUP))
	out.find(t, `configuration reloaded`)
	file := out.find(t, `The configuration: +(\S+)`)
	require.NoError(t, os.WriteFile(file, []byte("bad = 1\n"), 0o644))
	require.NoError(t, syscall.Kill(pid, syscall.SIGHUP))
	out.find(t, `reload refused, the old configuration stays: .*bad`)

	for _, name := range []string{"a", "b", "c"} {
		_, err := io.WriteString(input, "stop "+name+"\n")
		require.NoError(t, err)
	}
	out.find(t, `no server responds: 8 of 8 requests failed`)
	_, err = io.WriteString(input, "quit\n")
	require.NoError(t, err)
	require.Equal(t, 1, <-done, "requests have failed")
	require.Empty(t, errs.String())
	seconds := map[string]int{}
	for _, line := range regexp.MustCompile(`(?m)^(\d\d:\d\d:\d\d)  (?:served|no server)`).FindAllStringSubmatch(out.text.String(), -1) {
		seconds[line[1]]++
	}
	for at, n := range seconds {
		require.Equal(t, 1, n, "%s: %s", at, out.text.String())
	}
}
