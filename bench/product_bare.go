package main

import (
	"os"
	"strconv"
)

// newBare measures the forward subcommand of this program: the limit that the kernel sets.
func newBare() (product, error) {
	self, err := os.Executable()
	return product{
		name:    bare,
		version: "forwards, and decides, counts and bounds nothing",
		command: func(_ string, f forward) ([]string, error) {
			protocol := "tcp"
			if f.udp {
				protocol = "udp"
			}
			return []string{self, "forward", "-protocol", protocol, "-listen", f.listen, "-to", f.servers[0], "-loops", strconv.Itoa(f.threads)}, nil
		},
	}, err
}
