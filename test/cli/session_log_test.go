package cli_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Session records have the format of the log, change it with a reload, and follow it to a new file. With "errors" only
// sessions that did not end cleanly are logged.
func TestSessionLog(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, (&nettest.Recorder{Banner: "hello", CloseSide: true}).Handle)
	file := filepath.Join(t.TempDir(), "weir.log")
	listen := nettest.Reserve(t)
	config := func(format, sessions string) string {
		return strings.Replace(weirtest.Config{Listen: listen, Levels: weirtest.OneLevel(host.Addr() + " name=A"), Runtime: "drain_timeout = \"1s\""}.String(),
			"format = \"json\"\nlevel = \"info\"\nsessions = \"all\"", "format = \""+format+"\"\nlevel = \"error\"\nsessions = \""+sessions+"\"\nfile = \""+file+"\"", 1)
	}
	w := weirtest.Options{}.StartUnready(t, config("text", "all"))
	nettest.Wait(t, 10*time.Second, "weir to listen", func() bool {
		text, _ := weirtest.ReadSession(listen)
		return text == "hello"
	})
	line := func(path, pattern string) []string {
		t.Helper()
		var found []string
		nettest.Wait(t, 15*time.Second, "a line like "+pattern, func() bool {
			found = regexp.MustCompile("(?m)" + pattern).FindStringSubmatch(weirtest.ReadFile(t, path))
			return found != nil
		})
		return found
	}
	line(file, `^time=\S+ level=INFO msg=session id=\d+ listener=l client=127\.0\.0\.1:\d+ cluster=c cluster_level=1 server=A phase=relay attempts=1 `+
		`connect_ms=[\d.]+ first_byte_ms=[\d.]+ duration_ms=[\d.]+ age_seconds=[\d.]+ bytes_up=0 bytes_down=5 reason=server_closed$`)

	reload := func(format, sessions string) { // whose outcome a log of errors does not tell
		w.WriteConfig(config(format, sessions))
		require.NoError(t, os.Rename(file, file+"."+format+sessions))
		w.Signal(syscall.SIGHUP)
		w.Signal(syscall.SIGUSR1)
		nettest.Wait(t, 15*time.Second, "the new file", func() bool { _, err := os.Stat(file); return err == nil })
	}
	reload("json", "all")
	nettest.Wait(t, 15*time.Second, "a record in JSON", func() bool {
		weirtest.ReadSession(listen)
		for text := range strings.Lines(weirtest.ReadFile(t, file)) {
			var r weirtest.Record
			if json.Unmarshal([]byte(text), &r) == nil && r.Int("bytes_down") == 5 {
				require.Equal(t, []string{"session", "l", "c", "1", "A", "relay server_closed", "INFO"},
					[]string{r.Text("msg"), r.Text("listener"), r.Text("cluster"), r.Text("cluster_level"), r.Text("server"), r.Termination(), r.Text("level")})
				require.Equal(t, 1, r.Int("attempts"))
				for _, key := range []string{"connect_ms", "first_byte_ms", "duration_ms"} {
					require.Greater(t, r[key], 0.0, key)
				}
				return true
			}
		}
		return false
	})
	reload("text", "errors")
	nettest.Wait(t, 15*time.Second, "a record of a reset", func() bool {
		weirtest.ReadSession(listen)
		resetSession(t, listen)
		return strings.Contains(weirtest.ReadFile(t, file), ` reason=client_reset`)
	})
	mark := len(weirtest.ReadFile(t, file))
	weirtest.ReadSession(listen)
	resetSession(t, listen)
	nettest.Wait(t, 15*time.Second, "another record of a reset", func() bool { return len(weirtest.ReadFile(t, file)) > mark })
	require.NotContains(t, weirtest.ReadFile(t, file)[mark:], "server_closed")
}

// resetSession resets a session to which the server has sent a byte. A reset before a server is picked is not logged as an error.
func resetSession(t *testing.T, listen string) {
	t.Helper()
	c := nettest.Dial(t, listen)
	weirtest.ReadByte(t, c)
	nettest.Abort(c)
}

// During an outage the log has at most 100 records of one reason in a second, and tells how many more there were.
func TestOutageDoesNotFillTheLog(t *testing.T) {
	t.Parallel()
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: [][]string{{}}}
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, strings.Replace(a.AddTo(l.String()), `sessions = "all"`, `sessions = "errors"`, 1))
	for range 1000 {
		if c, err := net.Dial("tcp", l.Listen); err == nil { // else weir has closed it already
			c.Close()
		}
	}
	isRecord := func(r weirtest.Record) bool { return r.Text("msg") == "session" && r.Text("reason") == "no_server" }
	isSummary := func(r weirtest.Record) bool {
		return r.Text("msg") == "session records omitted" && r.Text("reason") == "no_server"
	}
	nettest.Wait(t, 15*time.Second, "a record or a summary of every session", func() bool {
		ended := a.Metric(`weir_sessions_ended_total{listener="l",phase="dial",reason="no_server"}`)
		n := len(w.Records(isRecord))
		for _, r := range w.Records(isSummary) {
			n += r.Int("count")
		}
		return n >= 900 && fmt.Sprint(n) == ended
	})
	seconds := map[string]int{}
	for _, r := range w.Records(isRecord) {
		seconds[r.Text("time")[:len("2006-01-02T15:04:05")]]++
	}
	for second, n := range seconds {
		require.LessOrEqual(t, n, 101, second) // the clock of a record is read a little before it is counted
	}
	for _, r := range w.Records(isSummary) {
		require.Equal(t, []any{"l"}, r["listeners"])
		require.LessOrEqual(t, r.Text("first"), r.Text("last"))
	}
}
