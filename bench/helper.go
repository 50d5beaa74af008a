package main

import (
	"flag"
	"io"
	"time"
)

// helper is a subcommand that this program runs of itself as a process of its own, so that the proxy's CPU time is
// never mixed with a generator's or a server's.
type helper func(args []string, in io.Reader, out io.Writer) error

func helpers() map[string]helper {
	return map[string]helper{
		"open": func(args []string, _ io.Reader, _ io.Writer) error {
			flags := flag.NewFlagSet("open", flag.ExitOnError)
			address := flags.String("listen", "", "address to accept at")
			_ = flags.Parse(args) // exits on error
			return serveOpen(*address)
		},
		"source": func(args []string, _ io.Reader, _ io.Writer) error {
			flags := flag.NewFlagSet("source", flag.ExitOnError)
			listen := flags.String("listen", "", "address to serve the bulk protocol on")
			_ = flags.Parse(args) // exits on error
			return serveSource(*listen)
		},
		"bulk": func(args []string, _ io.Reader, out io.Writer) error {
			flags := flag.NewFlagSet("bulk", flag.ExitOnError)
			target := flags.String("target", "", "address to read from")
			streams := flags.Int("streams", 1, "streams at one time")
			length := flags.Duration("for", time.Second, "how long")
			_ = flags.Parse(args) // exits on error
			return runBulk(out, *target, *streams, *length)
		},
		"ask": func(args []string, _ io.Reader, out io.Writer) error {
			flags := flag.NewFlagSet("ask", flag.ExitOnError)
			target := flags.String("target", "", "redis-server to ask")
			length := flags.Duration("for", time.Second, "how long")
			_ = flags.Parse(args) // exits on error
			return runAsk(out, *target, *length)
		},
		"hold": func(args []string, in io.Reader, out io.Writer) error {
			flags := flag.NewFlagSet("hold", flag.ExitOnError)
			target := flags.String("target", "", "address to open sessions to")
			sessions := flags.Int("sessions", 1, "sessions to hold until the input ends")
			_ = flags.Parse(args) // exits on error
			return runHold(in, out, *target, *sessions)
		},
	}
}
