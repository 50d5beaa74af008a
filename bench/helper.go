package main

import (
	"flag"
	"io"
	"time"
)

// helper is a subcommand that this program runs as a separate process, so that the proxy's CPU time is never mixed with
// that of a generator or a server.
type helper func(args []string, in io.Reader, out io.Writer) error

func helpers() map[string]helper {
	return map[string]helper{
		"open": func(args []string, _ io.Reader, _ io.Writer) error {
			flags := flag.NewFlagSet("open", flag.ExitOnError)
			address := flags.String("listen", "", "address to accept at")
			_ = flags.Parse(args) // exits on error
			return serveOpen(*address)
		},
		"echo": func(args []string, _ io.Reader, _ io.Writer) error {
			flags := flag.NewFlagSet("echo", flag.ExitOnError)
			listen := flags.String("listen", "", "UDP address to answer at")
			joined := flags.Bool("joined", false, "take and give datagrams of one size in one piece")
			_ = flags.Parse(args) // exits on error
			return serveEcho(*listen, *joined)
		},
		"forward": func(args []string, _ io.Reader, _ io.Writer) error {
			flags := flag.NewFlagSet("forward", flag.ExitOnError)
			listen := flags.String("listen", "", "UDP address to forward from")
			to := flags.String("to", "", "UDP address to forward to")
			loops := flags.Int("loops", 1, "threads that forward")
			_ = flags.Parse(args) // exits on error
			return serveForward(*listen, *to, *loops)
		},
		"datagrams": func(args []string, _ io.Reader, out io.Writer) error {
			flags := flag.NewFlagSet("datagrams", flag.ExitOnError)
			var load datagramLoad
			flags.StringVar(&load.target, "target", "", "UDP address of an echo server")
			flags.IntVar(&load.flows, "flows", 1, "clients")
			flags.IntVar(&load.window, "window", 1, "datagrams that each has under way")
			flags.IntVar(&load.size, "size", 64, "bytes in each")
			flags.BoolVar(&load.bursts, "bursts", false, "wait for all answers before sending again")
			flags.BoolVar(&load.joined, "joined", false, "send datagrams together in one piece, and take them so")
			flags.BoolVar(&load.fresh, "fresh", false, "a new client for every datagram")
			flags.IntVar(&load.rate, "rate", 0, "datagrams a second in all, answered or not; 0 = as answers allow")
			flags.DurationVar(&load.length, "for", time.Second, "how long")
			_ = flags.Parse(args) // exits on error
			return runDatagrams(out, load)
		},
		"flows": func(args []string, in io.Reader, out io.Writer) error {
			flags := flag.NewFlagSet("flows", flag.ExitOnError)
			target := flags.String("target", "", "UDP address of an echo server")
			flows := flags.Int("flows", 1, "flows to keep until the input ends")
			_ = flags.Parse(args) // exits on error
			return runFlows(in, out, *target, *flows)
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
