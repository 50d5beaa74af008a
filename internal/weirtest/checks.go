package weirtest

// QuickCheck detects a change within half a second, and leaves a busy machine time to respond.
const QuickCheck = "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"500ms\"\ndown_interval = \"100ms\"\nrise = 1\nfall = 1\n"

// PassingCheck is a quick check of the server's own port.
const PassingCheck = "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nfall = 2\nrise = 2\n"
