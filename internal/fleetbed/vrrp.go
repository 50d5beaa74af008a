package fleetbed

import (
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"
)

// StartKeepalived runs keepalived on a node with the configuration of the guide.
func (n *Node) StartKeepalived() {
	b := n.Bed
	b.T.Helper()
	text, err := documented("`/etc/keepalived/keepalived.conf`:")
	require.NoError(b.T, err)
	text = strings.NewReplacer("script_user weir", "script_user root", "/run/weir/admin.sock", n.API.Socket, "cluster=redis", "cluster=c").Replace(text)
	pid := func(name string) string { return filepath.Join(b.dir, n.name()+"-"+name+".pid") }
	b.start(n.Namespace, n.name()+"-keepalived", "keepalived", "--dont-fork", "--log-console", "-f", b.write(n.name()+"-keepalived.conf", text),
		"-p", pid("keepalived"), "-r", pid("vrrp"), "--vrrp")
}
