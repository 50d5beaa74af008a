package discovery_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// found is a configuration whose only level has a provider.
func found(keys string) weirtest.Config {
	return weirtest.Config{Levels: [][]string{nil}, Checks: "[cluster.c.level.discover]\n" + keys + "\n"}
}

// list is a file with the servers of a level.
type list struct {
	t    *testing.T
	path string
}

func newList(t *testing.T) list { return list{t, filepath.Join(t.TempDir(), "servers.json")} }

// keys returns the keys of a provider that reads the file.
func (l list) keys() string {
	return fmt.Sprintf("type = \"file\"\npath = %q\ninterval = \"1h\"\n", l.path)
}

// group is a group of targets: addresses, and labels as KEY=VALUE.
func group(targets []string, labels ...string) map[string]any {
	pairs := map[string]string{}
	for _, l := range labels {
		name, value, _ := strings.Cut(l, "=")
		pairs[name] = value
	}
	return map[string]any{"targets": targets, "labels": pairs}
}

// text returns the JSON of groups.
func text(t *testing.T, groups ...any) string {
	t.Helper()
	if groups == nil {
		groups = []any{}
	}
	b, err := json.Marshal(groups)
	require.NoError(t, err)
	return string(b)
}

// write replaces the file atomically.
func (l list) write(groups ...any) { l.t.Helper(); l.writeText(text(l.t, groups...)) }

func (l list) writeText(text string) {
	l.t.Helper()
	require.NoError(l.t, os.WriteFile(l.path+".new", []byte(text), 0o644))
	require.NoError(l.t, os.Rename(l.path+".new", l.path))
}

// addresses returns the addresses of hosts.
func addresses(hosts map[string]*nettest.Host, letters string) (list []string) {
	for _, l := range strings.Split(letters, "") {
		list = append(list, hosts[l].Addr())
	}
	return list
}

// servers returns the names of the servers of a level, sorted.
func servers(a weirtest.API, level int) []string {
	a.T.Helper()
	names := []string{}
	for _, s := range a.Get("clusters", 0, "levels", level, "servers").([]any) {
		names = append(names, s.(map[string]any)["name"].(string))
	}
	slices.Sort(names)
	return names
}

// waitServers waits until the first level has the servers.
func waitServers(a weirtest.API, names ...string) {
	a.T.Helper()
	slices.Sort(names)
	nettest.Wait(a.T, weirtest.Bound(5*time.Second), fmt.Sprintf("the servers %v", names), func() bool { return slices.Equal(servers(a, 0), names) })
}

// problems returns the texts of all problems with their reasons.
func problems(a weirtest.API) string {
	a.T.Helper()
	var texts []string
	for _, p := range a.Get("problems").([]any) {
		p := p.(map[string]any)
		texts = append(texts, fmt.Sprint(p["text"], " (", p["reason"], ")"))
	}
	return strings.Join(texts, "\n")
}

// waitProblem waits until the problems contain a text.
func waitProblem(a weirtest.API, want string) {
	a.T.Helper()
	nettest.Wait(a.T, weirtest.Bound(5*time.Second), "the problem "+want, func() bool { return strings.Contains(problems(a), want) })
}

// waitNoProblem waits until there is no problem.
func waitNoProblem(a weirtest.API) {
	a.T.Helper()
	nettest.Wait(a.T, weirtest.Bound(5*time.Second), "the end of all problems", func() bool { return problems(a) == "" })
}

// greeters starts one server per letter, each of which sends its letter and then echoes, and returns them by letter.
func greeters(t *testing.T, names string) map[string]*nettest.Host {
	out := map[string]*nettest.Host{}
	for _, name := range strings.Split(names, "") {
		out[name] = nettest.Start(t, nettest.Greet(name, nettest.Echo))
	}
	return out
}

// firstBytes opens n sessions one after the other and returns the first bytes that their servers send.
func firstBytes(t *testing.T, addr string, n int) string {
	t.Helper()
	var b strings.Builder
	for range n {
		b.WriteString(weirtest.DialAndReadByte(t, addr))
	}
	return b.String()
}
