package upgrade_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// container is a weir that is PID 1 of a PID namespace.
type container struct {
	*weirtest.Weir
	api     weirtest.API
	addr    string
	upgrade string // its program
}

func startContainer(t *testing.T, l weirtest.Config) *container {
	t.Helper()
	l.Listen = nettest.Reserve(t)
	c := &container{api: weirtest.NewAPI(t), addr: l.Listen, upgrade: weirtest.CopyProgram(t)}
	c.Weir = weirtest.Options{PIDNamespace: true, Program: c.upgrade}.Start(t, c.api.AddTo(l.String()))
	c.Baseline = nil // PID 1 closes its sockets at an upgrade
	require.Equal(t, 1, c.api.PID())
	return c
}

// processes returns the processes of the container but PID 1: process IDs there → here.
func (c *container) processes() map[int]nettest.Process {
	all := map[int]nettest.Process{}
	var add func(pid int)
	add = func(pid int) {
		for _, child := range weirtest.ChildProcesses(pid) {
			text, _ := os.ReadFile("/proc/" + child + "/status")
			for line := range strings.Lines(string(text)) {
				if ids := strings.Fields(line); len(ids) == 3 && ids[0] == "NSpid:" {
					here, _ := strconv.Atoi(ids[1])
					there, _ := strconv.Atoi(ids[2])
					all[there] = nettest.Process(here)
					add(here)
				}
			}
		}
	}
	add(c.Cmd.Process.Pid)
	return all
}

// requireNoZombies waits until every process of the container that has ended was waited for.
func (c *container) requireNoZombies() {
	c.T.Helper()
	nettest.Wait(c.T, 5*time.Second, "zombies to be reaped", func() bool {
		for _, p := range c.processes() {
			if !p.Alive() {
				return false
			}
		}
		return true
	})
}

func (c *container) waitPID(pid func(int) bool) int {
	c.T.Helper()
	got := 0
	nettest.Wait(c.T, 10*time.Second, "the upgrade", func() bool { got = c.api.PID(); return pid(got) })
	return got
}

// The container goes on after upgrades, and PID 1 passes signals to the process that serves.
func TestUpgradeOfPID1KeepsContainer(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	dir := t.TempDir()
	logFile := filepath.Join(dir, "weir.log")
	// Each run of a check leaves an orphan, which ends after its parent.
	l := weirtest.Config{Levels: weirtest.OneLevel(host.Addr())}
	for i := range 12 {
		l.Checks += fmt.Sprintf("[[cluster.c.check]]\ntype = \"exec\"\nid = \"exec-%d\"\ninterval = \"2s\"\n", i) +
			"timeout = \"2s\"\ncommand = [\"/bin/sh\", \"-c\", \"sleep 0.05 > /dev/null 2>&1 & echo fine\"]\n"
	}
	c := startContainer(t, l)
	conn := nettest.Dial(t, c.addr)
	require.NoError(t, weirtest.PingPong(conn))
	c.requireNoZombies()

	serving := 1
	for i := range 4 {
		if i%2 == 0 {
			c.api.MustRunCommand("upgrade")
		} else {
			c.Signal(syscall.SIGUSR2) // to PID 1
		}
		serving = c.waitPID(func(pid int) bool { return pid != serving })
		require.NoError(t, weirtest.PingPong(conn))
		text, _ := weirtest.EchoOnce(t, c.addr)
		require.Equal(t, "hello", text)
		require.False(t, c.HasExited())
		nettest.Wait(t, 10*time.Second, "the old processes to end", func() bool {
			weirs := 0
			for _, p := range c.processes() {
				if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p)); string(name) == "weir\n" {
					weirs++
				}
			}
			return weirs == 1
		})
		c.requireNoZombies()
	}

	l.Listen = c.addr
	config := strings.Replace(c.api.AddTo(l.String()), "[log]", fmt.Sprintf("[log]\nfile = %q", logFile), 1)
	c.WriteConfig(config)
	c.Signal(syscall.SIGHUP)
	nettest.Wait(t, 15*time.Second, "the reload", func() bool { return strings.Contains(weirtest.ReadFile(t, logFile), `"event":"reload"`) })
	require.NoError(t, os.Rename(logFile, logFile+".1"))
	c.Signal(syscall.SIGUSR1)
	nettest.Wait(t, 5*time.Second, "the new log", func() bool { _, err := os.Stat(logFile); return err == nil })

	require.NoError(t, weirtest.PingPong(conn))
	for i := range 12 {
		require.Zero(t, failedChecks(c.api, fmt.Sprintf("exec-%d", i)), "a check's exit code was lost")
	}
	conn.Close()
	c.Signal(syscall.SIGTERM)
	require.Zero(t, c.WaitExit(10*time.Second))
}

// failedChecks returns how many runs of a check have failed.
func failedChecks(a weirtest.API, id string) int {
	a.T.Helper()
	value := a.Metric(fmt.Sprintf(`weir_check_results_total{cluster="c",server=%q,check=%q,result="fail"}`, a.Get("clusters", 0, "levels", 0, "servers", 0, "name"), id))
	n, _ := strconv.Atoi(value) // absent before the first result
	return n
}

// PID 1 exits with the exit code of the process that serves.
func TestPID1ExitsWithCodeOfUpgradedProcess(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	start := func(t *testing.T, upgrades int) (*container, nettest.Process) {
		c := startContainer(t, weirtest.Config{Runtime: `drain_timeout = "200ms"`, Levels: weirtest.OneLevel(host.Addr())})
		for range upgrades {
			c.api.MustRunCommand("upgrade")
		}
		var serving nettest.Process
		nettest.Wait(t, 5*time.Second, "the process", func() bool { serving = c.processes()[c.api.PID()]; return serving > 0 })
		return c, serving
	}
	for upgrades := 1; upgrades <= 2; upgrades++ {
		t.Run(fmt.Sprintf("killed after upgrade %d", upgrades), func(t *testing.T) {
			c, serving := start(t, upgrades)
			require.NoError(t, syscall.Kill(int(serving), syscall.SIGKILL))
			require.Equal(t, 128+9, c.WaitExit(10*time.Second))
		})
		t.Run(fmt.Sprintf("sessions cut after upgrade %d", upgrades), func(t *testing.T) {
			c, _ := start(t, upgrades)
			conn := nettest.Dial(t, c.addr)
			require.NoError(t, weirtest.PingPong(conn))
			c.Signal(syscall.SIGTERM)
			require.Equal(t, 3, c.WaitExit(10*time.Second))
		})
		t.Run(fmt.Sprintf("stopped after upgrade %d", upgrades), func(t *testing.T) {
			c, _ := start(t, upgrades)
			c.api.MustRunCommand("stop")
			require.Zero(t, c.WaitExit(10*time.Second))
		})
	}
}

// A failed upgrade leaves PID 1 as it is, and the next one works.
func TestFailedUpgradeOfPID1(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	c := startContainer(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	for i := range 2 {
		script(t, c.upgrade, "#!/bin/sh\nexit 7\n")
		code, out := c.api.RunCommand("upgrade")
		require.Equal(t, 1, code, out)
		before := c.api.PID()
		require.Equal(t, i == 0, before == 1)
		weirtest.ReplaceProgram(t, c.upgrade, weirtest.Binary)
		c.api.MustRunCommand("upgrade")
		require.NotEqual(t, before, c.api.PID())
		c.requireNoZombies()
	}
	text, _ := weirtest.EchoOnce(t, c.addr)
	require.Equal(t, "hello", text)
}

// The process that a container's init waits for stays, too.
func TestUpgradeUnderInitKeepsContainer(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	a := weirtest.NewAPI(t)
	init := filepath.Join(t.TempDir(), "tini")
	out, err := exec.Command("cp", "/bin/sh", init).CombinedOutput()
	require.NoError(t, err, "%s", out)
	w := weirtest.Options{Wrapper: []string{init, "-c", `"$@"; exit $?`, "tini"}, Program: weirtest.CopyProgram(t)}.Start(t, a.AddTo(l.String()))
	w.Baseline = nil
	first := nettest.Process(a.PID())
	for range 3 {
		a.MustRunCommand("upgrade")
	}
	require.NotEqual(t, int(first), a.PID())
	require.True(t, first.Alive())
	require.False(t, w.HasExited())
	syscall.Kill(int(first), syscall.SIGTERM)
	require.Zero(t, w.WaitExit(10*time.Second))
}
