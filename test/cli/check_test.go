package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// writeOld writes a file that no command has to wait for.
func writeOld(t *testing.T, path, text string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	past := time.Now().Add(-time.Minute)
	require.NoError(t, os.Chtimes(path, past, past))
	return path
}

// A file may be given with -c, as the argument or on standard input.
func TestCheckTakesFileAsArgument(t *testing.T) {
	t.Parallel()
	l := weirtest.Config{Listen: "127.0.0.1:7000", Levels: weirtest.OneLevel("127.0.0.1:1")}.String()
	file := writeOld(t, t.TempDir()+"/weir.toml", l)
	for _, args := range [][]string{{"check", "-c", file}, {"check", file}, {"check", "--syntax", file}} {
		code, out := weirtest.RunCommand(t, args...)
		require.Zero(t, code, out)
		require.Equal(t, file+": ok\n", out)
	}
	for text, want := range map[string]string{l: "-: ok\n", "[log]\nlevle = \"info\"\n" + l: "-:2:1: log.levle: unknown key levle, did you mean level?\n"} {
		for _, args := range [][]string{{"check", "-"}, {"check", "-c", "-"}} {
			cmd := exec.Command(weirtest.Binary, args...)
			cmd.Stdin = strings.NewReader(text)
			out, _ := cmd.CombinedOutput()
			require.Contains(t, string(out), want)
		}
	}
	for _, args := range [][]string{{"check"}, {"check", file, file}, {"check", "-c", file, file}} {
		code, _ := weirtest.RunCommand(t, args...)
		require.Equal(t, 1, code, args)
	}
}

// With --as, includes are those of the path at which the file will stand, and the file there is not among them.
func TestCheckAsAnotherPath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	main := "include = [\"conf.d/*.toml\", \"*.toml\"]\n[admin]\nlisten = \"\"\n[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:7000\"\ncluster = \"c\"\n"
	template := writeOld(t, dir+"/templates/weir.toml.tmp", main)
	target := writeOld(t, dir+"/etc/weir.toml", main)
	writeOld(t, dir+"/etc/conf.d/c.toml", "[cluster.c]\n[[cluster.c.level]]\nservers = [\"127.0.0.1:1\"]\n")
	code, out := weirtest.RunCommand(t, "check", template)
	require.Equal(t, 1, code)
	require.Contains(t, out, "cluster \"c\" not defined")
	code, out = weirtest.RunCommand(t, "check", "--as", target, template)
	require.Zero(t, code, out)
	require.Equal(t, template+": ok\n", out)
	cmd := exec.Command(weirtest.Binary, "check", "--as", target, "-")
	cmd.Stdin = strings.NewReader(main)
	stdin, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", stdin)
	writeOld(t, dir+"/etc/conf.d/d.toml", "[cluster.c]\n")
	code, out = weirtest.RunCommand(t, "check", "--as", target, template)
	require.Equal(t, 1, code)
	require.Contains(t, out, dir+"/etc/conf.d/d.toml:1:1: cluster.c: duplicate name c of a cluster")
}

// A check rejects what a start rejects, with the position, and changes nothing on the host.
func TestCheckRejectsWhatRunRejects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeOld(t, dir+"/file", "")
	require.NoError(t, exec.Command("mkfifo", dir+"/pipe").Run())
	l := weirtest.Config{Listen: "127.0.0.1:0", Levels: weirtest.OneLevel("127.0.0.1:1")}
	l.Listen = nettest.Reserve(t)
	for path, want := range map[string]string{
		dir + "/none/weir.log": "open " + dir + "/none/weir.log: no such file or directory",
		dir + "/file/weir.log": "open " + dir + "/file/weir.log: not a directory",
		dir:                    "open " + dir + ": is a directory",
	} {
		file := writeOld(t, t.TempDir()+"/weir.toml", strings.Replace(l.String(), "[log]", "[log]\nfile = \""+path+"\"", 1))
		for _, command := range []string{"check", "run"} {
			code, out := weirtest.RunCommand(t, command, "-c", file)
			require.Equal(t, 1, code, "%s: %s", command, out)
			require.Contains(t, out, ": log.file: "+want, command)
		}
		code, out := weirtest.RunCommand(t, "check", "--syntax", file)
		require.Zero(t, code, out)
	}
	for _, path := range []string{dir + "/new.log", dir + "/file", dir + "/pipe", "/dev/null"} {
		code, out := weirtest.RunCommand(t, "check", writeOld(t, t.TempDir()+"/weir.toml", strings.Replace(l.String(), "[log]", "[log]\nfile = \""+path+"\"", 1)))
		require.Zero(t, code, out)
	}
	require.NoFileExists(t, dir+"/new.log")

	l.Listen = "unix:" + dir + "/none/weir.sock"
	code, out := weirtest.RunCommand(t, "check", writeOld(t, t.TempDir()+"/weir.toml", l.String()))
	require.Equal(t, 1, code)
	require.Contains(t, out, ": listener[0].address: listen on "+l.Listen+": no such file or directory")
	require.NoDirExists(t, dir+"/none")
}

// --syntax skips what only the host has on which weir will run.
func TestCheckSyntaxSkipsHost(t *testing.T) {
	t.Parallel()
	file := writeOld(t, t.TempDir()+"/weir.toml", weirtest.Config{
		Listen: "127.0.0.1:7000", Levels: weirtest.OneLevel("127.0.0.1:1"), Runtime: "user = \"no-such-user\"",
		Checks: "[[cluster.c.check]]\ntype = \"redis\"\npassword_file = \"/none/password\"\ntls = true\ntls_ca_file = \"/none/ca\"\n" +
			"[[cluster.c.check]]\ntype = \"exec\"\ncommand = [\"/none/program\"]\n[[cluster.c.check]]\ntype = \"mysql\"\nuser = \"u\"\npassword_env = \"NO_SUCH_VARIABLE\"",
	}.String())
	code, out := weirtest.RunCommand(t, "check", file)
	require.Equal(t, 1, code)
	require.Equal(t, 4, strings.Count(out, "\n"), out)
	code, out = weirtest.RunCommand(t, "check", "--syntax", file)
	require.Zero(t, code, out)
	require.Equal(t, file+": ok\n", out)
}

// Advice is a note, not a warning: the file is valid.
func TestCheckPrintsNotes(t *testing.T) {
	t.Parallel()
	file := writeOld(t, t.TempDir()+"/weir.toml", weirtest.Config{Listen: "0.0.0.0:7000", Levels: weirtest.OneLevel("127.0.0.1:1")}.String())
	code, out := weirtest.RunCommand(t, "check", "-c", file)
	require.Zero(t, code)
	require.Contains(t, out, "note: "+file+":11:11: listener[0].address: listener l is reachable from other networks and has no idle timeout (client_idle_timeout)")
	require.Contains(t, out, file+": ok\n")
	require.NotContains(t, out, "warning")
}

// A plan reads a file once, so that it may be a pipe or standard input.
func TestPlanOfPipe(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	w, _, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr() + " name=A")})
	text := strings.Replace(weirtest.ReadFile(t, w.File), "name=A", "name=A weight=3", 1)
	cmd := exec.Command("sh", "-c", `cat | "$0" plan --admin "$1" -c /dev/stdin`, weirtest.Binary, "unix:"+a.Socket)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "change server c/A: weight 1 → 3\n", string(out))
	cmd = exec.Command(weirtest.Binary, "plan", "--admin", "unix:"+a.Socket, "-c", "-")
	cmd.Stdin = strings.NewReader(text)
	out, err = cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "change server c/A: weight 1 → 3\n", string(out))
}

// Patterns that match a large part of a file system, or files of the kernel that block or have no end, are refused. The errors
// are those of limits, so the work does not grow with the machine.
func TestIncludePatternsAreBounded(t *testing.T) {
	t.Parallel()
	const kernel, names, special = "whose files belong to the kernel", "is compared with more than 10000 names", "not a regular file"
	for pattern, want := range map[string]string{
		"/proc/*/*": kernel, "/proc/*/task/*/*": kernel, "/proc/*/fd/*": kernel, "/proc/[a-z]*": kernel, "../../../../proc/*/../*/../*/status": kernel,
		"/sys/*/*/*/*": kernel, "/sys/*/*/*/*/*/*/*": kernel, "/sys/kernel/*": kernel, "/*/*/*/*": kernel,
		"/*/../*": "is a directory", "/*/../*/../*/../*/../*": "is a directory",
		"/proc/kmsg": special, "/proc/self/mem": special, "/dev/*": special,
		strings.Repeat("/usr/../", 5000) + "usr/*": names,
	} {
		main := fmt.Sprintf("include = [%q]\n[admin]\nlisten = \"\"\n[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:7000\"\ncluster = \"c\"\n"+
			"[cluster.c]\n[[cluster.c.level]]\nservers = [\"127.0.0.1:1\"]\n", pattern)
		code, output := weirtest.RunCommand(t, "check", "-c", writeOld(t, filepath.Join(t.TempDir(), "weir.toml"), main))
		require.Equal(t, 1, code, "%s: %s", pattern, output)
		require.Contains(t, output, want, pattern)
		require.Less(t, len(output), 100<<10)
	}
}
