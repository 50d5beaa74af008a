package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"
)

// options are the command line.
type options struct {
	rows       []row
	products   []string
	rounds     int
	seconds    int // full window
	threads    int // of every proxy
	out        string
	weir       string   // binary
	weirOld    string   // binary; "" = not measured
	congestion []string // congestion controls, each measured in a network namespace of its own; nil = as the machine is set
	simulate   bool     // balancing methods, instead of measuring
	list       bool
	render     string // results directory to render again; "" = measure
}

// quickRows are what -quick measures: something of every kind of server and generator, in about 20 seconds.
const quickRows = "requests-50,short-100,bulk-1,idle-1000"

// errUsage stands for a mistake that the flag package has already explained.
var errUsage = errors.New("usage")

// parseOptions parses the command line and writes messages about it to errOut.
func parseOptions(args []string, errOut io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(errOut)
	rows := flags.String("rows", "all", "rows or families to measure, separated by commas; -list names them")
	products := flags.String("products", "all", "products, separated by commas: "+strings.Join(productNames(), ", "))
	quick := flags.Bool("quick", false, "one round of 1 s windows over a few rows: proves that everything runs, no more")
	flags.IntVar(&o.rounds, "rounds", 5, "alternating rounds; fewer than 5 are for trying things out")
	flags.IntVar(&o.seconds, "seconds", 3, "length of a load, in seconds")
	congestion := flags.String("congestion", "", "TCP congestion controls to measure with, separated by commas, such as cubic,bbr; each in a network namespace of its own (needs root); \"\" = as the machine is set")
	flags.IntVar(&o.threads, "threads", runtime.NumCPU(), "threads, workers or loops of every proxy")
	flags.StringVar(&o.out, "out", "bench/results", "directory that gets a directory for this invocation's results")
	flags.StringVar(&o.weir, "weir", "bin/weir", "weir binary")
	flags.StringVar(&o.weirOld, "weir-old", "", "another weir binary, for a comparison before and after")
	flags.BoolVar(&o.simulate, "simulate", false, "simulate balancing methods with one slow server, print a table and stop")
	flags.BoolVar(&o.list, "list", false, "list rows and stop")
	flags.StringVar(&o.render, "render", "", "render tables and plots of a results directory again, without measuring")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errUsage
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *quick {
		given := map[string]bool{}
		flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
		if !given["rows"] {
			*rows = quickRows
		}
		if !given["rounds"] {
			o.rounds = 1
		}
		if !given["seconds"] {
			o.seconds = 1
		}
	}
	if o.rounds < 1 || o.seconds < 1 || o.threads < 1 {
		return o, errors.New("-rounds, -seconds and -threads must be at least 1")
	}
	for name := range strings.SplitSeq(*congestion, ",") {
		if name = strings.TrimSpace(name); name != "" {
			o.congestion = append(o.congestion, name)
		}
	}
	var err error
	if o.rows, err = selectRows(*rows); err != nil {
		return o, err
	}
	o.products, err = selectProducts(*products, o.weirOld != "")
	return o, err
}

// selectProducts checks a list of products and puts it into the order of the columns. "all" holds the old weir if one
// is given, and an old weir that is given is always measured.
func selectProducts(list string, old bool) ([]string, error) {
	wanted := map[string]bool{weirOld: old}
	for name := range strings.SplitSeq(list, ",") {
		wanted[strings.TrimSpace(name)] = true
	}
	var chosen []string
	for _, name := range productNames() {
		if wanted[name] || wanted["all"] && (name != weirOld || old) {
			chosen = append(chosen, name)
		}
		delete(wanted, name)
	}
	delete(wanted, "all")
	for name := range wanted {
		return nil, fmt.Errorf("unknown product %q, want some of %s", name, strings.Join(productNames(), ", "))
	}
	return chosen, nil
}

func (o options) window() time.Duration { return time.Duration(o.seconds) * time.Second }
