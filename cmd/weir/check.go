package main

import (
	"fmt"
	"io"

	"weir/conf"
)

// check validates a file exactly as a start would, and opens no socket.
func check(file string, stdout, stderr io.Writer) int {
	cfg, err := conf.Load(file)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintln(stderr, "warning:", w)
	}
	fmt.Fprintf(stdout, "%s: ok\n", file)
	return exitDone
}
