package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os/signal"
	"syscall"
	"time"

	"weir/agentcheck"
)

const agentUsage = `usage: weir agent --listen ADDRESS (--say LINE | --file FILE | --load)

Tells balancers how this host wants to be used, over TCP: weir's check of type
"agent", or HAProxy's agent-check.

  --listen ADDRESS  where to answer, such as :9999 or 10.0.0.1:9999
  --say LINE        this line always, such as "50%" or "drain"
  --file FILE       the first line of a file, read anew for every question
  --load            a percentage that falls from 100% to 1% as the load of this
                    host rises to one task per processor

Words: up, down, fail, stopped, ready, drain, maint, 50%, weight:10, maxconn:30,
and after up or down, "# a text".
`

// agent answers balancers until it is told to end.
func agent(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("weir agent", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, agentUsage) }
	listen := flags.String("listen", "", "")
	say := flags.String("say", "", "")
	file := flags.String("file", "", "")
	load := flags.Bool("load", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		return exitUsage
	}
	ways := 0
	flags.Visit(func(f *flag.Flag) {
		if f.Name != "listen" {
			ways++
		}
	})
	if *listen == "" || ways != 1 || flags.NArg() > 0 {
		fmt.Fprint(stderr, agentUsage)
		return exitUsage
	}
	var answer agentcheck.Answer
	switch {
	case *load:
		answer = agentcheck.Load()
	case *file != "":
		answer = agentcheck.File(*file)
	default:
		var err error
		if answer, err = agentcheck.Fixed(*say); err != nil {
			fmt.Fprintf(stderr, "weir agent: --say: %v\n", err)
			return exitUsage
		}
	}
	if _, err := answer(); err != nil { // it may be put right later, and somebody should know
		fmt.Fprintf(stderr, "weir agent: nothing to say yet: %v\n", err)
	}
	return answerBalancers(ctx, *listen, answer, stdout, stderr)
}

func answerBalancers(ctx context.Context, listen string, answer agentcheck.Answer, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // whoever read what is said here may have gone
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp", listen)
	if err != nil {
		fmt.Fprintf(stderr, "weir agent: %v\n", err)
		return exitNoStart
	}
	fmt.Fprintf(stdout, "weir agent: answering at %s\n", l.Addr())
	told := newTold(stderr)
	defer told.close()
	server := agentcheck.Server{Answer: answer, Report: told.report}
	if err := server.Serve(ctx, l); err != nil {
		fmt.Fprintf(stderr, "weir agent: %v\n", err)
		return exitNoStart
	}
	return exitDone
}

// told passes on why questions go unanswered: once for each reason that is not the one before. Its reader never holds
// up an answer.
type told struct {
	queue chan string
	done  chan struct{}
}

func newTold(to io.Writer) *told {
	t := &told{queue: make(chan string, 16), done: make(chan struct{})}
	go func() {
		defer close(t.done)
		last := ""
		for reason := range t.queue {
			if reason != last {
				fmt.Fprintf(to, "weir agent: %s\n", reason)
			}
			last = reason
		}
	}()
	return t
}

func (t *told) report(err error) {
	select {
	case t.queue <- err.Error():
	default:
	}
}

// close waits for the last reason to be written, as far as it is taken in time.
func (t *told) close() {
	close(t.queue)
	select {
	case <-t.done:
	case <-time.After(logPatience):
	}
}
