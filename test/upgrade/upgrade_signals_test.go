package upgrade_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// signalsItself begins the way of a new process that gets signals before it becomes weir. The program and the signals follow.
const signalsItself = "signals "

// runSignalledSuccessor sends signals to this process, which handles none, and runs weir in its place.
func runSignalledSuccessor(arguments string) int {
	words := strings.Fields(arguments)
	for _, name := range words[1:] {
		syscall.Kill(os.Getpid(), map[string]syscall.Signal{"HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2}[name])
	}
	syscall.Exec(words[0], os.Args, os.Environ())
	return 104
}

// Signals that reach the new process before it handles them, such as that of `pkill -HUP weir`, do not end the upgrade. The new
// process acts upon SIGUSR1 and SIGUSR2 once it serves.
func TestUpgradeSurvivesSignalsToNewProcess(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	host := nettest.Start(t, nettest.Echo)
	for _, signals := range []string{"HUP USR1 HUP", "USR2"} {
		t.Run(signals, func(t *testing.T) {
			t.Parallel()
			l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
			a, path := weirtest.NewAPI(t), weirtest.CopyProgram(t)
			w := weirtest.Options{Program: path, Env: []string{successorEnv + "=" + signalsItself + weirtest.Binary + " " + signals}}.Start(t, a.AddTo(l.String()))
			client := nettest.Dial(t, l.Listen)
			require.NoError(t, weirtest.PingPong(client))
			weirtest.ReplaceProgram(t, path, self)
			r := w.SignalUpgrade("upgrade")
			w.WaitSuccessor(r.Int("pid"))
			if signals == "USR2" {
				nettest.Wait(t, 30*time.Second, "the second upgrade", func() bool { return len(w.UpgradeRecords()) == 2 })
				w.WaitSuccessor(w.UpgradeRecords()[1].Int("pid"))
			} else { // it has read the configuration after SIGHUP
				w.WaitRecord(15*time.Second, "the log file", func(r weirtest.Record) bool { return r.Text("msg") == "log file reopened" })
			}
			w.SignalReload("reload") // as any other time
			require.NoError(t, weirtest.PingPong(client))
			client.Close()
		})
	}
}
