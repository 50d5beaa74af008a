package main

import (
	"fmt"
	"io"

	"weir/conf"
	"weir/internal/engine"
)

// check validates a file exactly as a start would, with the files and programs that its checks need, and opens no
// socket.
func check(file string, stdout, stderr io.Writer) int {
	cfg, err := conf.Load(file)
	if err == nil {
		err = engine.Check(cfg)
	}
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
