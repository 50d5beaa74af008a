package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// Records of sessions come in the form of the log, change it with a reload, and follow it to a new file. With "errors"
// only sessions that did not end well leave one.
func TestSessionLog(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, (&nettest.Recorder{Banner: "hello", CloseSide: true}).Handle)
	file := filepath.Join(t.TempDir(), "weir.log")
	listen := nettest.Reserve(t)
	config := func(format, sessions string) string {
		return strings.Replace(layout{listen: listen, levels: servers(host.Addr() + " name=A"), runtime: "drain_timeout = \"1s\""}.String(),
			"format = \"json\"\nlevel = \"info\"\nsessions = \"all\"", "format = \""+format+"\"\nlevel = \"error\"\nsessions = \""+sessions+"\"\nfile = \""+file+"\"", 1)
	}
	w := launch{}.launch(t, config("text", "all"))
	nettest.Wait(t, 10*time.Second, "weir to listen", func() bool {
		text, _ := ask(listen)
		return text == "hello"
	})
	line := func(path, pattern string) []string {
		t.Helper()
		var found []string
		nettest.Wait(t, 5*time.Second, "a line like "+pattern, func() bool {
			found = regexp.MustCompile("(?m)" + pattern).FindStringSubmatch(readFile(t, path))
			return found != nil
		})
		return found
	}
	line(file, `^time=\S+ level=INFO msg=session id=\d+ listener=l client=127\.0\.0\.1:\d+ cluster=c cluster_level=1 server=A phase=relay attempts=1 `+
		`connect_ms=[\d.]+ first_byte_ms=[\d.]+ duration_ms=[\d.]+ age_seconds=[\d.]+ bytes_up=0 bytes_down=5 reason=server_closed$`)

	reload := func(format, sessions string) { // whose outcome a log of errors does not tell
		w.write(config(format, sessions))
		require.NoError(t, os.Rename(file, file+"."+format+sessions))
		w.signal(syscall.SIGHUP)
		w.signal(syscall.SIGUSR1)
		nettest.Wait(t, 5*time.Second, "the new file", func() bool { _, err := os.Stat(file); return err == nil })
	}
	reload("json", "all")
	nettest.Wait(t, 5*time.Second, "a record in JSON", func() bool {
		ask(listen)
		for text := range strings.Lines(readFile(t, file)) {
			var r record
			if json.Unmarshal([]byte(text), &r) == nil && r.num("bytes_down") == 5 {
				require.Equal(t, []string{"session", "l", "c", "1", "A", "relay server_closed", "INFO"},
					[]string{r.str("msg"), r.str("listener"), r.str("cluster"), r.str("cluster_level"), r.str("server"), r.end(), r.str("level")})
				require.Equal(t, 1, r.num("attempts"))
				for _, key := range []string{"connect_ms", "first_byte_ms", "duration_ms"} {
					require.Greater(t, r[key], 0.0, key)
				}
				return true
			}
		}
		return false
	})
	reload("text", "errors")
	nettest.Wait(t, 5*time.Second, "a record of a reset", func() bool {
		ask(listen)
		c := nettest.Dial(t, listen)
		c.SetLinger(0)
		c.Close()
		return strings.Contains(readFile(t, file), ` reason=client_reset`)
	})
	mark := len(readFile(t, file))
	ask(listen)
	c := nettest.Dial(t, listen)
	c.SetLinger(0)
	c.Close()
	nettest.Wait(t, 5*time.Second, "another record of a reset", func() bool { return len(readFile(t, file)) > mark })
	require.NotContains(t, readFile(t, file)[mark:], "server_closed")
}
