// Command weir is a layer-4 (TCP and UDP) load balancer. It runs in front of Redis, MySQL and other services,
// health-checks servers, fails over through ordered levels, and reloads its configuration without clients noticing.
package main

import (
	"context"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"weir/conf"
	"weir/internal/cli"
	"weir/internal/engine"
	"weir/internal/status"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes the command in args and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return cli.ExitCode(root.ExecuteContext(ctx), stderr)
}

func rootCommand() *cobra.Command {
	return cli.NewRoot(cli.Program{
		Version:  version(),
		Commands: []*cobra.Command{runCommand(), checkCommand()},
		Plan: func(before, after *conf.Config) status.Plan {
			return engine.PlanOf(conf.Diff(before, after), func(conf.PlanStep) int { return 0 })
		},
	})
}

// version returns the version of the build and of its Go toolchain.
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

// release is the version of this source tree. packaging/deb/build.sh reads it from this line.
const release = "0.1.0"
