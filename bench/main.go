package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

// Exit codes.
const (
	exitDone     = 0
	exitFailed   = 1 // no measurement, or some runs of it failed
	exitMistaken = 2 // invalid command line
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, in io.Reader, out, errOut io.Writer) int {
	if len(args) > 0 {
		if helper := helpers()[args[0]]; helper != nil {
			return exitCode(errOut, helper.run(args[0], args[1:], in, out))
		}
	}
	// From here on, and so in every process started, an interrupt is handled and not ignored, even when this program
	// was started in the background by a shell that has its jobs ignore interrupts.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o, err := parseOptions(args, errOut)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.Is(err, errUsage):
		return exitMistaken
	case err != nil:
		fmt.Fprintf(errOut, "bench: %v\n", err)
		return exitMistaken
	case o.list:
		list(out)
		return exitDone
	case o.simulate:
		return exitCode(errOut, simulateMethods(out))
	case o.render != "":
		return exitCode(errOut, render(o.render, out))
	}
	if len(o.congestion) > 0 && !inOwnNamespace() {
		return exitCode(errOut, measureWith(ctx, o.congestion, args, out, errOut))
	}
	return exitCode(errOut, measure(ctx, o, out, errOut))
}

// exitCode turns an error into a message and an exit code.
func exitCode(errOut io.Writer, err error) int {
	if err != nil {
		fmt.Fprintf(errOut, "bench: %v\n", err)
		return exitFailed
	}
	return exitDone
}

// list names the rows and what is measured in each.
func list(out io.Writer) {
	for _, f := range families() {
		fmt.Fprintf(out, "%s: %s\n", f.name, f.title)
		for _, m := range f.metrics {
			fmt.Fprintf(out, "    %s\n", m.title())
		}
		for _, r := range rows() {
			if r.family == f.name {
				fmt.Fprintf(out, "  %s\n", r.name)
			}
		}
	}
}

// render writes plots and summary of earlier results again and prints the tables.
func render(dir string, out io.Writer) error {
	s, records, err := readResults(dir)
	if err != nil {
		return err
	}
	r := newReport(s, records)
	fmt.Fprint(out, r.tables())
	return r.write(dir)
}

// measure makes the runs and reports on them, also when it is interrupted halfway.
func measure(ctx context.Context, o options, out, errOut io.Writer) error {
	if err := checkTools(o.rows); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r := &runner{options: o, self: self, progress: errOut}
	s := setup{
		Date: time.Now(), Machine: thisMachine(), Versions: map[string]string{}, Tools: toolVersions(),
		Rounds: o.rounds, Seconds: o.seconds, Threads: o.threads,
	}
	if s.Congestion, err = prepareNamespace(o.congestion); err != nil {
		return err
	}
	for _, name := range o.products {
		p, err := newProduct(name, o)
		if err != nil {
			fmt.Fprintf(errOut, "skipped: %v\n", err)
			continue
		}
		r.products = append(r.products, p)
		s.Products = append(s.Products, name)
		s.Versions[name] = p.version
	}
	if len(r.products) == 0 {
		return errors.New("none of the products can be measured here")
	}
	if r.scratch, err = os.MkdirTemp("", "weir-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.scratch)
	dir, err := newResultsDir(o.out, s.Date)
	if err != nil {
		return err
	}
	records, err := r.into(ctx, dir, s)
	if len(records) == 0 {
		return errors.Join(err, os.RemoveAll(dir))
	}
	rep := newReport(s, records)
	fmt.Fprintf(out, "%s\nResults are in %s\n", rep.tables(), dir)
	return errors.Join(err, rep.write(dir), failures(records))
}

// into makes the runs with their raw records in dir.
func (r *runner) into(ctx context.Context, dir string, s setup) ([]record, error) {
	if err := writeSetup(dir, s); err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(dir, runsFile))
	if err != nil {
		return nil, err
	}
	r.raw = file
	records, err := r.run(ctx)
	return records, errors.Join(err, file.Close())
}

// failures is an error if some runs failed.
func failures(records []record) error {
	failed := 0
	for _, r := range records {
		if r.Error != "" {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d runs failed", failed, len(records))
	}
	return nil
}
