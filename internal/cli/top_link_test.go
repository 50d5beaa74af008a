// weir top over a slow link, with a slow API and with many servers.

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/require"
)

// A request without a response is shown, delays no key, and is not repeated.
func TestTopWithSlowAPI(t *testing.T) {
	s := estateScreen()
	now := s.clock()
	s.clock = func() time.Time { return now }
	m := &topModel{screen: s, ctx: t.Context()}
	require.NotNil(t, m.fetch())
	now = now.Add(time.Second)
	require.NotContains(t, s.draw(80, 24)[1], "no response")
	now = now.Add(2 * time.Second)
	require.Contains(t, s.draw(80, 24)[1], "no response for 3 s, showing old data")
	require.Nil(t, m.fetch(), "one request at a time")
	s.press("down")
	require.Equal(t, "app-01.prod.example.net", s.selected.server)
	m.Update(topStatus{nil, errors.New("timeout")})
	require.Contains(t, s.draw(80, 24)[1], "no response since 08:05:03, showing old data: timeout")
	m.Update(topStatus{estate(305), nil})
	require.Contains(t, s.draw(80, 24)[1], "WARNING")
}

// After a response that took long, the next request waits.
func TestTopSparesSlowAPI(t *testing.T) {
	s := estateScreen()
	now := s.clock()
	s.clock = func() time.Time { return now }
	m := &topModel{screen: s, ctx: t.Context()}
	asks := func(after time.Duration) bool {
		now = now.Add(after)
		m.Update(topTick{})
		return m.fetching
	}
	require.True(t, asks(time.Second))
	now = now.Add(100 * time.Millisecond)
	m.Update(topStatus{estate(305), nil})
	require.True(t, asks(900*time.Millisecond))
	now = now.Add(600 * time.Millisecond)
	m.Update(topStatus{estate(306), nil})
	require.False(t, asks(400*time.Millisecond))
	require.False(t, asks(time.Second))
	require.True(t, asks(time.Second))
	now = now.Add(20 * time.Second)
	m.Update(topStatus{nil, errors.New("timeout")})
	require.True(t, asks(time.Second))
}

// Before the first response, the screen says so and takes keys.
func TestTopBeforeFirstResponse(t *testing.T) {
	m := &topModel{screen: newScreen(false), ctx: t.Context(), width: 40, height: 12, first: make(chan topStatus)}
	require.NotNil(t, m.Init())
	require.Nil(t, m.fetch(), "the first request is under way")
	require.Contains(t, m.View().Content, "waiting for the first response")
	for _, key := range []string{"enter", "j", "d", "K", "f", "p", "/", "esc"} {
		require.Equal(t, topAction{}, m.press(key), key)
	}
	m.press("?")
	require.Contains(t, m.View().Content, "KEYS")
	m.press("esc")
	m.Update(topStatus{nil, errors.New("refused")})
	require.Contains(t, m.View().Content, "no response yet: refused")
	require.Equal(t, topQuit, m.press("q").kind)
}

// withoutTicks keeps a program from asking the API.
var withoutTicks = tea.WithFilter(func(_ tea.Model, msg tea.Msg) tea.Msg {
	if _, ok := msg.(topTick); ok {
		return nil
	}
	return msg
})

// Keys work while the terminal takes nothing: they change what is drawn next, and end the program.
func TestKeysOverBlockedLink(t *testing.T) {
	link := &slowLink{tokens: make(chan error)}
	in, keys := io.Pipe()
	m := &topModel{screen: estateScreen(), ctx: t.Context()}
	m.out = newOutput(link, func() {})
	p := tea.NewProgram(m, tea.WithInput(in), tea.WithOutput(m.out), tea.WithoutSignalHandler(), tea.WithWindowSize(80, 24), withoutTicks)
	m.width, m.height = 80, 24
	done := make(chan error, 1)
	go func() {
		_, err := p.Run()
		done <- err
	}()
	for range 30 {
		_, err := io.WriteString(keys, "j")
		require.NoError(t, err)
	}
	_, err := io.WriteString(keys, "q")
	require.NoError(t, err)
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(30 * time.Second):
		require.Fail(t, "weir top does not end")
	}
	keys.Close()
	require.Equal(t, 30, m.at)
	go func() { // the link is back
		for {
			select {
			case link.tokens <- nil:
			case <-t.Context().Done():
				return
			}
		}
	}()
	m.out.close()
	require.Contains(t, link.got.String(), "\x1b[?25h", "the terminal is restored")
	require.Less(t, link.got.Len(), 8<<10, "no screens wait")
}

// A refresh changes few characters of the screen; the others are not written again.
func TestTopChangesFewCharacters(t *testing.T) {
	for _, size := range []struct{ width, height, most int }{{40, 12, 40}, {80, 24, 120}, {200, 50, 400}} {
		s := newScreen(false)
		now := morning
		s.clock = func() time.Time { return now }
		var before []string
		changed := 0
		const refreshes = 60
		for i := range refreshes {
			now = morning.Add(time.Duration(i) * time.Second)
			s.show(estate(i))
			lines := s.draw(size.width, size.height)
			for y := range before {
				a, b := []rune(before[y]), []rune(lines[y])
				for x := range max(len(a), len(b)) {
					if x >= len(a) || x >= len(b) || a[x] != b[x] {
						changed++
					}
				}
			}
			before = lines
		}
		require.Less(t, changed/refreshes, size.most, "%d x %d", size.width, size.height)
	}
}

// cpuTime returns the CPU time that the process has used.
func cpuTime(t *testing.T) time.Duration {
	var use syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &use))
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// 10,000 servers are read and on the screen in 300 ms of CPU time, and a key is answered much faster.
func TestTopWithTenThousandServers(t *testing.T) {
	encoded, err := json.Marshal(estateOf(60, 2500/raceFactor))
	require.NoError(t, err)
	c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) { io.Copy(w, bytes.NewReader(encoded)) })
	s := newScreen(false)
	best := time.Hour
	for range 3 {
		began := cpuTime(t)
		doc, err := fetchStatus(t.Context(), c)
		require.NoError(t, err)
		s.show(doc)
		require.Len(t, s.draw(80, 24), 24)
		best = min(best, cpuTime(t)-began)
	}
	t.Logf("%d bytes, %v", len(encoded), best)
	require.Less(t, best, 300*time.Millisecond)
	began := cpuTime(t)
	for _, key := range strings.Split("/ o r d e r s enter s s down pgdown end enter esc b", " ") {
		s.press(key)
		s.draw(80, 24)
	}
	require.Less(t, cpuTime(t)-began, 16*50*time.Millisecond)
}
