package fleetbed

// The routing daemons. docs/several.md has the configurations of the nodes.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// start runs a daemon in a namespace until the test ends. Its output is shown if the test fails. The daemon changes its user and
// starts children: all of them end with the PID namespace, also if the test is killed.
func (b *Bed) start(ns *nettest.Namespace, name, program string, args ...string) {
	b.T.Helper()
	log, err := os.Create(filepath.Join(b.dir, name+".log"))
	require.NoError(b.T, err)
	cmd := exec.Command("unshare", append([]string{"--pid", "--fork", "--kill-child", "sh", "-c", `"$@" & wait`, "sh", program}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ns.Do(func() { err = cmd.Start() })
	require.NoError(b.T, err)
	b.T.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		log.Close()
		if b.T.Failed() {
			b.T.Logf("%s: %s", name, weirtest.ReadFile(b.T, log.Name()))
		}
	})
}

// startBIRD runs BIRD.
func (b *Bed) startBIRD(ns *nettest.Namespace, name, config string) {
	b.T.Helper()
	b.start(ns, name, "bird", "-f", "-c", b.write(name+".conf", config), "-s", filepath.Join(b.dir, name+".ctl"), "-P", filepath.Join(b.dir, name+".pid"))
}

// birdc asks a BIRD and returns its answer, or "" if it does not run yet.
func (b *Bed) birdc(name string, command ...string) string {
	out, _ := exec.Command("birdc", append([]string{"-r", "-s", filepath.Join(b.dir, name+".ctl")}, command...)...).CombinedOutput()
	return string(out)
}

// quickBGP makes sessions of BGP start soon, in tests.
const quickBGP = "connect delay time 1; connect retry time 1; error wait time 1, 2;"

func (b *Bed) routerConfig() string {
	text := `router id 10.0.0.1;
protocol device {}
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; merge paths yes; }
protocol bfd { interface "eth*" { interval 300 ms; multiplier 3; }; }
template bgp node { local as 65000; bfd yes; ` + quickBGP + ` ipv4 { import where net = ` + VIP + `/32; export none; }; }
`
	for _, n := range b.Nodes {
		text += fmt.Sprintf("protocol bgp %s from node { neighbor %s as 65001; }\n", n.name(), n.address(false))
	}
	return text
}

// documented returns the block of text after a heading in the guide.
func documented(heading string) (string, error) {
	guide, err := os.ReadFile("../../docs/several.md")
	if err != nil {
		return "", err
	}
	_, text, found := strings.Cut(string(guide), heading+"\n\n```text\n")
	if !found {
		return "", fmt.Errorf("docs/several.md has no block after %q", heading)
	}
	text, _, _ = strings.Cut(text, "```")
	return text, nil
}

// configOf returns a configuration of the guide with the addresses of the node.
func (n *Node) configOf(heading string) string {
	n.Bed.T.Helper()
	text, err := documented(heading)
	require.NoError(n.Bed.T, err)
	return strings.NewReplacer("10.0.0.100", VIP, "10.0.0.11", n.address(false), "10.0.0.1", n.address(true)).Replace(text)
}

func (n *Node) birdConfig() string {
	n.Bed.T.Helper()
	return strings.Replace(n.configOf("`/etc/bird/bird.conf`:"), "bfd yes;", "bfd yes; "+quickBGP, 1)
}

// startFRR runs the daemons of FRR.
func (b *Bed) startFRR(n *Node) {
	b.T.Helper()
	config := n.configOf("`/etc/frr/frr.conf`, with `bgpd=yes` and `bfdd=yes` in `/etc/frr/daemons`:")
	bfd := " neighbor " + n.address(true) + " bfd\n"
	config = strings.Replace(config, bfd, bfd+" neighbor "+n.address(true)+" timers connect 1\n", 1)
	dir := filepath.Join(b.dir, n.name())
	b.write(n.name()+"/frr.conf", config)
	socket := filepath.Join(dir, "zserv.api")
	out, err := exec.Command("chown", "frr:frr", dir).CombinedOutput() // the daemons run as that user
	require.NoError(b.T, err, "%s", out)
	for _, daemon := range []string{"zebra", "bfdd", "bgpd"} {
		args := []string{"-f", "/dev/null", "-z", socket, "-i", filepath.Join(dir, daemon+".pid"), "--vty_socket", dir, "--log", "stdout"}
		if daemon == "bfdd" {
			args = append(args, "--bfdctl", filepath.Join(dir, "bfdd.sock"))
		}
		b.start(n.Namespace, n.name()+"-"+daemon, "/usr/lib/frr/"+daemon, args...)
		if daemon == "zebra" {
			nettest.Wait(b.T, weirtest.Bound(patience), "zebra", func() bool { _, err := os.Stat(socket); return err == nil })
		}
	}
	nettest.Wait(b.T, weirtest.Bound(patience), "FRR to take its configuration", func() bool {
		for _, daemon := range []string{"zebra", "bfdd", "bgpd"} {
			if _, err := os.Stat(filepath.Join(dir, daemon+".vty")); err != nil {
				return false
			}
		}
		out, err = exec.Command("vtysh", "--vty_socket", dir, "--config_dir", dir, "-b").CombinedOutput()
		return err == nil
	})
}
