package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// environmentProgram returns the command of a program that writes the environment that it has, and the one that it can read of
// weir itself, to a file.
func environmentProgram(file string) string {
	return fmt.Sprintf(`["/bin/sh", "-c", "(env; tr '\\000' '\\n' </proc/$PPID/environ) >%[1]s.$$ && mv %[1]s.$$ %[1]s; exit 1"]`, file)
}

// waitEnvironment returns what a program wrote that began after the call.
func waitEnvironment(t *testing.T, file string) string {
	t.Helper()
	for range 2 { // the first one may have begun before
		os.Remove(file)
		nettest.Wait(t, 30*time.Second, "the program "+filepath.Base(file), func() bool { _, err := os.Stat(file); return err == nil })
	}
	return weirtest.ReadFile(t, file)
}

// secretCluster returns a cluster whose check takes its password from a variable.
func secretCluster(name, kind, variable string) string {
	return fmt.Sprintf("[cluster.%s]\n[[cluster.%[1]s.level]]\nservers = [\"127.0.0.1:1\"]\n"+
		"[[cluster.%[1]s.check]]\ntype = %[2]q\nuser = \"u\"\npassword_env = %[3]q\n", name, kind, variable)
}

// A program of a check or a hook gets no variable that password_env of any check names, whatever their order in the file, after
// a reload, a change through the API and an upgrade; nor can it read one from /proc.
func TestProgramsNeverGetPasswordVariables(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	check, early, hook := filepath.Join(dir, "check"), filepath.Join(dir, "early"), filepath.Join(dir, "hook")
	execCluster := func(name, file string) string {
		return fmt.Sprintf("[cluster.%s]\nprotected = false\n[[cluster.%[1]s.level]]\nservers = [\"127.0.0.1:1\"]\n"+
			"[[cluster.%[1]s.check]]\ntype = \"exec\"\ninterval = \"1s\"\ntimeout = \"1s\"\nfall = 1\ncommand = %[2]s\n", name, environmentProgram(file))
	}
	a := weirtest.NewAPI(t)
	config := func(more string) string {
		l := weirtest.Config{
			Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1"),
			Checks: "[[cluster.c.check]]\ntype = \"exec\"\ninterval = \"1s\"\ntimeout = \"1s\"\ncommand = " + environmentProgram(check) + "\n" +
				"[[cluster.c.check]]\ntype = \"redis\"\npassword_env = \"SECRET_SAME\"\n",
			More: "[[event]]\nname = \"e\"\non = [\"server_down\", \"server_up\", \"server_state\", \"reload\"]\nexec = " + environmentProgram(hook) + "\n" +
				secretCluster("before", "mysql", "SECRET_BEFORE") + execCluster("middle", early) + secretCluster("after", "redis", "SECRET_AFTER") + more,
		}
		return withAdmin(a.AddTo(l.String()), "allow_programs = true")
	}
	env := []string{"KEPT=yes"}
	var values []string
	for _, name := range []string{"SAME", "BEFORE", "AFTER", "RELOAD", "API"} {
		values = append(values, "swordfish-"+name)
		env = append(env, "SECRET_"+name+"=swordfish-"+name)
	}
	w := weirtest.Options{Env: env}.Start(t, config(""))
	verify := func(when string, secrets int, files ...string) {
		t.Helper()
		for _, file := range files {
			text := waitEnvironment(t, file)
			require.Contains(t, text, "KEPT=yes\n", when)
			for _, value := range values[:secrets] {
				require.NotContains(t, text, value, "%s: %s", when, filepath.Base(file))
			}
		}
	}
	verify("start", 3, check, early)
	nettest.Wait(t, 30*time.Second, "the hook", func() bool { _, err := os.Stat(hook); return err == nil })
	for _, value := range values[:3] {
		require.NotContains(t, weirtest.ReadFile(t, hook), value)
	}

	w.Reload(config(secretCluster("late", "redis", "SECRET_RELOAD")))
	verify("reload", 4, check, early)
	a.MustDo("PUT /v1/clusters/posted", `{"levels": [{"servers": ["127.0.0.1:1"]}], "checks": [{"type": "mysql", "user": "u", "password_env": "SECRET_API"}]}`)
	verify("API", 5, check, early)
	for range 2 { // the second process gets its environment from the first
		w.Upgrade()
		verify("upgrade", 5, check, early)
	}
	os.Remove(hook)
	w.Reload(config(secretCluster("late", "mysql", "SECRET_RELOAD")))
	nettest.Wait(t, 30*time.Second, "the hook", func() bool { _, err := os.Stat(hook); return err == nil })
	text := weirtest.ReadFile(t, hook)
	for _, value := range values {
		require.NotContains(t, text, value)
	}
	require.Equal(t, 1, strings.Count(text, "WEIR_EVENT="))
}
