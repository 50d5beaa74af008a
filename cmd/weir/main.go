// Command weir is a layer-4 stream balancer: it stands in front of Redis, MySQL and other TCP services, knows which
// servers are healthy, fails over through levels, and changes its configuration without a client noticing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
)

// Exit codes, the same for every command.
const (
	exitDone    = 0
	exitUsage   = 1 // bad configuration or usage
	exitNoStart = 2
	exitCut     = 3 // sessions were cut at the drain deadline or by a second signal
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

const usage = `weir: a layer-4 stream balancer

  weir run -c FILE      serve, in the foreground
  weir check -c FILE    validate a configuration
  weir agent            tell balancers the state and weight of this host
  weir version          print the version

Signals: HUP reloads, TERM and INT drain and exit (a second one exits at once),
USR1 reopens the log file.
`

// run is the whole program but for the exit.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	command, args := args[0], args[1:]
	switch command {
	case "run":
		return withFile(args, "run", stderr, func(file string) int { return serve(ctx, file, stderr) })
	case "check":
		return withFile(args, "check", stderr, func(file string) int { return check(file, stdout, stderr) })
	case "agent":
		return agent(ctx, args, stdout, stderr)
	case "version", "-version", "--version":
		fmt.Fprintln(stdout, "weir", version())
		return exitDone
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return exitDone
	}
	fmt.Fprintf(stderr, "weir: unknown command %q\n\n%s", command, usage)
	return exitUsage
}

// withFile reads the arguments of a command that takes a configuration file.
func withFile(args []string, command string, stderr io.Writer, do func(file string) int) int {
	flags := flag.NewFlagSet("weir "+command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("c", "", "the configuration `file`")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		return exitUsage
	}
	if *file == "" || flags.NArg() > 0 {
		fmt.Fprintf(stderr, "usage: weir %s -c FILE\n", command)
		return exitUsage
	}
	return do(*file)
}

// version is what the binary was built as.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = release
	}
	return v + " " + info.GoVersion
}

// release is the version in development or, in a release, of it.
const release = "0.1.0"
