// Command soak runs a built weir under random load and faults and verifies every session.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"weir/internal/soak"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run runs the program and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 3 && args[0] == "server" { // child server
		index, err := strconv.Atoi(args[1])
		if err == nil {
			err = soak.Serve(index, args[2], stdout)
		}
		if err != nil {
			fmt.Fprintln(stderr, "soak:", err)
			return 1
		}
		return 0
	}
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(stderr)
	weir := flags.String("weir", "bin/weir", "the weir `binary`")
	length := flags.Duration("time", 10*time.Minute, "length of the run")
	seed := flags.Uint64("seed", uint64(time.Now().UnixNano()), "`seed` of the random decisions")
	clients := flags.Int("clients", 48, "concurrent clients")
	logFile := flags.String("log", "", "`file` that receives weir's log without the records of sessions")
	if flags.Parse(args) != nil {
		return 1
	}
	log := io.Discard
	if *logFile != "" {
		f, err := os.Create(*logFile)
		if err != nil {
			fmt.Fprintln(stderr, "soak:", err)
			return 1
		}
		defer f.Close()
		log = f
	}
	self, err := os.Executable()
	if err == nil {
		err = soak.Run(soak.Options{
			Binary: *weir, Child: []string{self, "server"}, Time: *length, Seed: *seed, Clients: *clients, Out: stdout, Log: log,
		})
	}
	if err != nil {
		fmt.Fprintln(stderr, "soak:", err)
		return 1
	}
	return 0
}
