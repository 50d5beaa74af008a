package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weir/agentcheck"
)

const aboutAgent = `Answers agent checks over TCP: those of weir (checks of type "agent") and of HAProxy
(agent-check). --say, --file or --load selects the reply.

A reply consists of: up, down, fail, stopped, ready, drain, maint, 50%, weight:10,
maxconn:30; after up or down, also "# text".`

func agentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "agent --listen ADDRESS (--say LINE | --file FILE | --load) [--allow ADDRESSES]", Short: "Answer agent checks for this host",
		Long: aboutAgent, Args: cobra.NoArgs, DisableFlagsInUseLine: true,
	}
	listen := cmd.Flags().String("listen", "", "the `address` to listen on, such as :9999 or 10.0.0.1:9999")
	say := cmd.Flags().String("say", "", "reply with this `line`, such as \"50%\" or \"drain\"")
	file := cmd.Flags().String("file", "", "reply with the first line of a `file`, which is read for each check")
	load := cmd.Flags().Bool("load", false, "reply with a percentage: from 100% when idle to 1% when one task per CPU runs or waits")
	allow := cmd.Flags().StringSlice("allow", nil, "reply only to these `addresses`, such as 10.0.0.0/24,10.1.0.5 (default all)")
	cmd.MarkFlagRequired("listen")
	cmd.MarkFlagsOneRequired("say", "file", "load")
	cmd.MarkFlagsMutuallyExclusive("say", "file", "load")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, _, err := net.SplitHostPort(*listen); err != nil {
			return fmt.Errorf("agent: --listen: %w", err)
		}
		allowed, err := parsePrefixes(*allow)
		if err != nil {
			return fmt.Errorf("agent: --allow: %w", err)
		}
		var reply agentcheck.ReplyFunc
		switch {
		case *load:
			reply = agentcheck.LoadReply()
		case *file != "":
			reply = agentcheck.FileReply(*file)
		default:
			if reply, err = agentcheck.FixedReply(*say); err != nil {
				return fmt.Errorf("agent: --say: %w", err)
			}
		}
		if _, err := reply(); err != nil { // the file may be created later
			fmt.Fprintf(cmd.ErrOrStderr(), "weir agent: no reply yet: %v\n", err)
		}
		return Exit(serveAgent(cmd.Context(), *listen, agentcheck.Server{Reply: reply, Allow: allowed}, cmd.OutOrStdout(), cmd.ErrOrStderr()))
	}
	return cmd
}

// parsePrefixes parses addresses and networks.
func parsePrefixes(texts []string) (list []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			at, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("want an address or a network such as 10.0.0.0/24, got %q", text)
			}
			p = netip.PrefixFrom(at, at.BitLen())
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

// serveAgent answers checks until SIGTERM or SIGINT and returns the exit code.
func serveAgent(ctx context.Context, listen string, server agentcheck.Server, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// SIGPIPE: the reader of stdout or stderr may have exited. The others ask for a reload, a log file or an upgrade, which an agent
	// does not have; `pkill -HUP weir` must not end it.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp", listen)
	if err != nil {
		fmt.Fprintf(stderr, "weir agent: %v\n", err)
		return ExitUnreachable
	}
	fmt.Fprintf(stdout, "weir agent: listening on %s\n", l.Addr())
	failures := newFailureLog(stderr)
	defer failures.close()
	server.OnError = failures.report
	if err := server.Serve(ctx, l); err != nil {
		fmt.Fprintf(stderr, "weir agent: %v\n", err)
		return ExitUnreachable
	}
	return ExitOK
}

// failureLog prints why checks are not answered, each run of equal reasons once. A blocked reader delays no reply.
type failureLog struct {
	queue chan string
	done  chan struct{}
}

func newFailureLog(to io.Writer) *failureLog {
	f := &failureLog{queue: make(chan string, 16), done: make(chan struct{})}
	go func() {
		defer close(f.done)
		last := ""
		for reason := range f.queue {
			if reason != last {
				fmt.Fprintf(to, "weir agent: %s\n", reason)
			}
			last = reason
		}
	}()
	return f
}

func (f *failureLog) report(err error) {
	select {
	case f.queue <- err.Error():
	default:
	}
}

// close waits up to a second for the last reason to be printed.
func (f *failureLog) close() {
	close(f.queue)
	select {
	case <-f.done:
	case <-time.After(time.Second):
	}
}
