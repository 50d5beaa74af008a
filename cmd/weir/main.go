// Command weir is a layer-4 stream balancer: it stands in front of Redis, MySQL and other TCP services, knows which
// servers are healthy, fails over through levels, and changes its configuration without a client noticing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
)

// Exit codes, the same for every command.
const (
	exitDone    = 0
	exitUsage   = 1 // bad configuration or usage
	exitNoStart = 2 // could not start; of a client command: weir was not reached
	exitCut     = 3 // sessions were cut at the drain deadline or by a second signal
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program but for the exit.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	var end ended
	if !errors.As(err, &end) {
		end = ended{exitUsage, err}
	}
	if end.err != nil {
		fmt.Fprintln(stderr, "weir:", end.err)
	}
	return end.code
}

// ended is how a command ends that is not done: with an exit code, and words unless they have been said.
type ended struct {
	code int
	err  error
}

func (e ended) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e ended) Unwrap() error { return e.err }

// exits makes an exit code a command's end.
func exits(code int) error {
	if code == exitDone {
		return nil
	}
	return ended{code: code}
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
