// Addresses of other programs, interfaces that come and go, reloads and upgrades.

package vip_test

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

// watchAddresses records the changes of the addresses of the tests. The function that it returns returns them.
func (n *node) watchAddresses() func() []string {
	n.t.Helper()
	file, err := os.Create(filepath.Join(n.t.TempDir(), "changes"))
	require.NoError(n.t, err)
	cmd := exec.Command("ip", "-o", "monitor", "address")
	cmd.Stdout = file
	n.Do(func() { err = cmd.Start() })
	require.NoError(n.t, err)
	n.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait(); file.Close() })
	seen := func(address string) bool { return strings.Contains(weirtest.ReadFile(n.t, file.Name()), address) }
	mark := 0
	flush := func() { // what came before is in the file once this change is
		mark++
		address := fmt.Sprintf("10.200.0.%d/32", mark)
		n.Exec("ip", "address", "add", address, "dev", "lo")
		nettest.Wait(n.t, weirtest.Bound(15*time.Second), "the monitor", func() bool { return seen(address) })
	}
	nettest.Wait(n.t, weirtest.Bound(15*time.Second), "the monitor to start", func() bool {
		n.Exec("ip", "address", "replace", "10.200.1.1/32", "dev", "lo", "valid_lft", "1000", "preferred_lft", "1000")
		return seen("10.200.1.1")
	})
	return func() (list []string) {
		flush()
		for line := range strings.Lines(weirtest.ReadFile(n.t, file.Name())) {
			if strings.Contains(line, "10.9.9.9") || strings.Contains(line, "fd00::99") {
				list = append(list, line)
			}
		}
		return list
	}
}

// An address that another program has added is left where it is, and is a problem. When it goes, weir adds its own. An address
// of weir that another program removes is added again.
func TestAddressesOfOthers(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.Exec("ip", "address", "add", v4, "dev", "lo")
	n.Exec("ip", "address", "add", v6, "dev", "lo")
	w := n.serve()
	v := n.waitVIPs("failed")
	require.Equal(t, "lo has the address already, and not from weir: weir leaves it there", v.Problem)
	require.Contains(t, n.api.MustRunCommand("status"), "WARNING  vip 10.9.9.9/32 on lo: failed")
	n.api.MustRunCommand("node", "drain")
	require.Equal(t, []string{v4, v6}, n.addresses("lo"))
	_, out := n.clean()
	require.Equal(t, "no addresses left behind\n", out)
	n.api.MustRunCommand("node", "ready")

	n.Exec("ip", "address", "del", v4, "dev", "lo")
	n.Exec("ip", "address", "del", v6, "dev", "lo")
	n.waitVIPs("up")
	require.Equal(t, []string{v4, v6}, n.addresses("lo"))
	n.Exec("ip", "address", "del", v6, "dev", "lo")
	n.Exec("ip", "address", "del", v4, "dev", "lo")
	nettest.Wait(t, weirtest.Bound(15*time.Second), "the addresses to be added again", func() bool {
		return len(reasonsOf(w, "vip_added")) == 4
	})
	require.Contains(t, reasonsOf(w, "vip_added")[3], "another program had removed it")
	n.waitAddresses("lo", v4, v6)
	n.serve2(t)
}

// serve2 starts a second weir with the same addresses, which the first one keeps.
func (n *node) serve2(t *testing.T) {
	t.Helper()
	second := *n
	second.api = weirtest.NewAPI(t)
	second.config.Listen = "127.0.0.1:7003"
	w := second.serve()
	second.waitVIPs("up") // this host has the address
	second.api.MustRunCommand("node", "drain")
	v := second.waitVIPs("down")
	require.Equal(t, "another weir on this host has the address", v.Problem)
	require.Equal(t, []string{v4, v6}, n.addresses("lo"))
	w.Baseline = nil // the first one may end first
}

// An interface that is missing is a problem until it appears; one that is down is one too. One that is removed takes the address along.
func TestInterfaceAppearsLater(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.config.More = vips("hold = \"0s\"\ninterface = \"veth0\"")
	n.serve()
	v := n.waitVIPs("failed")
	require.Equal(t, "no interface veth0", v.Problem)
	for range 2 {
		n.Exec("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "peer0")
		n.waitVIPs("up")
		require.Equal(t, []string{v4, v6}, n.addresses("veth0"))
		require.Equal(t, "interface veth0 is down", n.waitVIPs("up").Problem)
		n.Exec("ip", "link", "set", "veth0", "up")
		nettest.Wait(t, weirtest.Bound(15*time.Second), "no problem", func() bool { return n.waitVIPs("up").Problem == "" })
		n.Exec("ip", "link", "set", "veth0", "down") // the kernel removes IPv6 addresses
		n.Exec("ip", "link", "set", "veth0", "up")
		n.waitVIPs("up")
		n.waitAddresses("veth0", v4, v6)
		n.Exec("ip", "link", "del", "veth0")
		n.waitVIPs("failed")
	}
}

// A reload adds, moves and removes addresses; those that stay have no gap. Neither has an upgrade.
func TestReloadAndUpgrade(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.Exec("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "peer0")
	n.Exec("ip", "link", "set", "veth0", "up")
	n.config.Runtime, _ = weirtest.StateFile(t)
	w := n.serve()
	w.Baseline = nil // the last configuration has fewer addresses
	n.waitAddresses("lo", v4, v6)
	changes := n.watchAddresses()
	n.config.More = vips("hold = \"1h\"") // they stay
	w.Reload(n.text())
	w.Upgrade()
	w.Upgrade()
	n.waitVIPs("up")
	w.Reload(n.text())
	n.waitVIPs("up")
	require.Empty(t, changes())
	require.Equal(t, []string{v4, v6}, n.addresses("lo"))
	require.Len(t, reasonsOf(w, "vip_added"), 2)

	n.config.More = vips("interface = \"veth0\"")
	w.Reload(n.text())
	n.waitAddresses("veth0", v4, v6)
	n.waitAddresses("lo")
	n.config.More = strings.ReplaceAll(n.config.More, v4, "10.9.9.9/24")
	require.Contains(t, n.api.MustRunCommand("plan", "-c", n.file()), "change vip 10.9.9.9: address 10.9.9.9/32 → 10.9.9.9/24")
	w.Reload(n.text())
	n.waitAddresses("veth0", "10.9.9.9/24", v6)

	n.config.More = fmt.Sprintf("[[vip]]\naddress = %q\nclusters = [\"c\"]\ninterface = \"veth0\"\n", v6)
	require.NoError(t, os.WriteFile(w.File, []byte(n.text()), 0o644)) // an upgrade removes it too
	w.Upgrade()
	n.waitAddresses("veth0", v6)
	require.Contains(t, n.api.MustRunCommand("status"), v6)
	n.config.More = ""
	w.Reload(n.text())
	n.waitAddresses("veth0")
}

// file writes the configuration to a file of its own.
func (n *node) file() string {
	n.t.Helper()
	path := filepath.Join(n.t.TempDir(), "wanted.toml")
	require.NoError(n.t, os.WriteFile(path, []byte(n.text()), 0o644))
	return path
}

// A failed upgrade leaves the addresses to the old process.
func TestFailedUpgradeKeepsAddresses(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	program := weirtest.CopyProgram(t)
	w := weirtest.Options{Namespace: n.Namespace, Program: program}.Start(t, n.text())
	n.waitAddresses("lo", v4, v6)
	weirtest.ReplaceProgram(t, program, "/bin/false")
	w.SignalUpgrade("upgrade_failed")
	n.Exec("ip", "address", "del", v4, "dev", "lo")
	n.waitAddresses("lo", v4, v6)
	nettest.Wait(t, weirtest.Bound(15*time.Second), "the address to be added again", func() bool { return len(reasonsOf(w, "vip_added")) == 3 })
	n.api.MustRunCommand("node", "drain")
	require.Empty(t, n.addresses("lo"))
}

// Without the capability weir serves and names it. With runtime.user it keeps the capability.
func TestCapability(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.config.Listen = "0.0.0.0:7000"
	w := weirtest.Options{Namespace: n.Namespace, Wrapper: []string{"setpriv", "--bounding-set=-net_admin", "--"}}.Start(t, n.text())
	v := n.waitVIPs("failed")
	require.Equal(t, "cannot add to lo: missing capability CAP_NET_ADMIN", v.Problem)
	c := n.Dial("127.0.0.1:7000")
	require.NoError(t, weirtest.PingPong(c))
	c.Close()
	w.Signal(15)
	require.Zero(t, w.WaitExit(weirtest.Bound(15*time.Second)))

	program, err := weirtest.StaticProgram()
	require.NoError(t, err)
	n.config.Runtime = "user = \"nobody\""
	dir := weirtest.ShortTempDir(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	weirtest.Options{Namespace: n.Namespace, Program: program, File: filepath.Join(dir, "weir.toml")}.Start(t, n.text())
	n.waitVIPs("up")
	require.Equal(t, []string{v4, v6}, n.addresses("lo"))
	n.api.MustRunCommand("node", "drain")
	require.Empty(t, n.addresses("lo"))
}
