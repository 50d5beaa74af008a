package main

import (
	"flag"
	"io"
	"time"
)

// helper is a subcommand that this program runs as a separate process, so that the proxy's CPU time is never mixed with
// that of a generator or a server. It defines its flags and returns the function that runs after they are parsed.
type helper func(flags *flag.FlagSet) func(in io.Reader, out io.Writer) error

// run parses the arguments and runs the helper.
func (h helper) run(name string, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet(name, flag.ExitOnError)
	do := h(flags)
	_ = flags.Parse(args) // exits on error
	return do(in, out)
}

func helpers() map[string]helper {
	return map[string]helper{
		"open": func(flags *flag.FlagSet) func(io.Reader, io.Writer) error {
			address := flags.String("listen", "", "address to accept at")
			return func(io.Reader, io.Writer) error { return serveOpen(*address) }
		},
		"queue": func(flags *flag.FlagSet) func(io.Reader, io.Writer) error {
			var q queueServers
			first := flags.String("first", "", "address of the first server; the others have the next ones")
			port := flags.Int("port", 0, "port of all servers")
			servers := flags.Int("servers", 1, "how many")
			flags.IntVar(&q.workers, "workers", 1, "sessions that a server works on at a time")
			flags.DurationVar(&q.service, "service", 10*time.Millisecond, "mean time of one")
			flags.Float64Var(&q.factor, "factor", 1, "by which the first server becomes slower")
			return func(io.Reader, io.Writer) error { return q.serve(*first, *port, *servers) }
		},
		"arrivals": func(flags *flag.FlagSet) func(io.Reader, io.Writer) error {
			var a arrivals
			flags.StringVar(&a.target, "target", "", "address of the queue servers")
			flags.IntVar(&a.perSecond, "per-second", 1, "sessions that begin each second, at random times")
			flags.DurationVar(&a.slowAfter, "slow-after", time.Second, "when the first server becomes slow")
			flags.DurationVar(&a.notice, "notice", time.Second, "time after that for which sessions do not count")
			flags.DurationVar(&a.length, "for", 5*time.Second, "length of the run")
			return func(_ io.Reader, out io.Writer) error { return a.run(out) }
		},
		"echo": func(flags *flag.FlagSet) func(io.Reader, io.Writer) error {
			listen := flags.String("listen", "", "UDP address to listen at")
			joined := flags.Bool("joined", false, "receive and send datagrams of one size together (GRO, GSO)")
			return func(io.Reader, io.Writer) error { return serveEcho(*listen, *joined) }
		},
		"forward": func(flags *flag.FlagSet) func(io.Reader, io.Writer) error {
			protocol := flags.String("protocol", "udp", "tcp or udp")
			listen := flags.String("listen", "", "address to forward from")
			to := flags.String("to", "", "address to forward to")
			loops := flags.Int("loops", 1, "threads that forward")
			return func(io.Reader, io.Writer) error {
				if *protocol == "tcp" {
					return serveForwardTCP(*listen, *to, *loops)
				}
				return serveForward(*listen, *to, *loops)
			}
		},
		"datagrams": func(flags *flag.FlagSet) func(io.Reader, io.Writer) error {
			var load datagramLoad
			flags.StringVar(&load.target, "target", "", "UDP address of an echo server")
			flags.IntVar(&load.flows, "flows", 1, "clients")
			flags.IntVar(&load.window, "window", 1, "datagrams in flight per client")
			flags.IntVar(&load.size, "size", 64, "bytes per datagram")
			flags.BoolVar(&load.bursts, "bursts", false, "wait for all replies before sending again")
			flags.BoolVar(&load.joined, "joined", false, "send and receive datagrams together (GSO, GRO)")
			flags.BoolVar(&load.fresh, "fresh", false, "a new client for every datagram")
			flags.IntVar(&load.rate, "rate", 0, "datagrams per second in total, replied to or not; 0 = limited by the replies")
			flags.DurationVar(&load.length, "for", time.Second, "length of the run")
			return func(_ io.Reader, out io.Writer) error { return runDatagrams(out, load) }
		},
		"flows": func(flags *flag.FlagSet) func(io.Reader, io.Writer) error {
			target := flags.String("target", "", "UDP address of an echo server")
			flows := flags.Int("flows", 1, "flows to keep until the input ends")
			return func(in io.Reader, out io.Writer) error { return runFlows(in, out, *target, *flows) }
		},
		"source": func(flags *flag.FlagSet) func(io.Reader, io.Writer) error {
			listen := flags.String("listen", "", "address to serve the bulk protocol at")
			return func(io.Reader, io.Writer) error { return serveSource(*listen) }
		},
		"bulk": func(flags *flag.FlagSet) func(io.Reader, io.Writer) error {
			target := flags.String("target", "", "address to read from")
			streams := flags.Int("streams", 1, "concurrent streams")
			length := flags.Duration("for", time.Second, "length of the run")
			return func(_ io.Reader, out io.Writer) error { return runBulk(out, *target, *streams, *length) }
		},
		"ask": func(flags *flag.FlagSet) func(io.Reader, io.Writer) error {
			target := flags.String("target", "", "address of a redis-server")
			length := flags.Duration("for", time.Second, "length of the run")
			return func(_ io.Reader, out io.Writer) error { return runAsk(out, *target, *length) }
		},
		"pump": func(flags *flag.FlagSet) func(io.Reader, io.Writer) error {
			listen := flags.String("listen", "", "address to send from")
			target := flags.String("target", "", "address to read from")
			streams := flags.Int("streams", 1, "concurrent streams")
			length := flags.Duration("for", time.Second, "length of the run")
			return func(_ io.Reader, out io.Writer) error { return runPump(out, *listen, *target, *streams, *length) }
		},
		"spin": func(*flag.FlagSet) func(io.Reader, io.Writer) error {
			return func(in io.Reader, _ io.Writer) error { return runSpin(in) }
		},
		"hold": func(flags *flag.FlagSet) func(io.Reader, io.Writer) error {
			target := flags.String("target", "", "address to open sessions to")
			sessions := flags.Int("sessions", 1, "sessions to hold until the input ends")
			return func(in io.Reader, out io.Writer) error { return runHold(in, out, *target, *sessions) }
		},
	}
}
