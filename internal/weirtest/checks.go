package weirtest

// QuickCheck detects a change within half a second, and leaves a busy machine time to respond.
const QuickCheck = "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"500ms\"\ndown_interval = \"100ms\"\nrise = 1\nfall = 1\n"

// PassingCheck is a check of the server's own port. It notices within a second that the port refuses, and takes a server
// down for being slow only if it is silent for more than half a second twice in a row.
const PassingCheck = "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"500ms\"\nfast_interval = \"100ms\"\ndown_interval = \"100ms\"\n" +
	"timeout = \"500ms\"\nfall = 2\nrise = 2\n"
