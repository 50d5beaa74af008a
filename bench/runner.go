package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"weir/internal/progress"
)

// runner makes the runs of one invocation.
type runner struct {
	options  options
	products []product
	self     string    // this program, for its generators and servers
	scratch  string    // directory for the runs' own directories
	progress io.Writer // one line for each run
	raw      io.Writer // one record for each run
}

// overhead is the time of a run beside its window: start, warm-up, settling and stop. It is a rough figure for the
// estimate of the total time.
const overhead = 300 * time.Millisecond

// job is one run to make.
type job struct {
	row     row
	product product
	round   int
}

// jobs lists the runs: row by row, and within a row round by round, so that the runs whose ratio is taken are close to
// each other in time. Each round begins with another product.
func (r *runner) jobs() []job {
	var all []job
	for _, row := range r.options.rows {
		fit := slices.DeleteFunc(slices.Clone(r.products), func(p product) bool { return !row.fits(p.name) })
		for round := range r.options.rounds {
			for i := range fit {
				all = append(all, job{row: row, product: fit[(round+i)%len(fit)], round: round + 1})
			}
		}
	}
	return all
}

// estimate returns roughly how long jobs take.
func (r *runner) estimate(jobs []job) time.Duration {
	var sum time.Duration
	for _, j := range jobs {
		// 9,000 sessions take about 1 s to open and to close again.
		sum += overhead + j.row.window(r.options.window()) + time.Duration(j.row.sessions)*time.Second/9000
	}
	return sum.Round(time.Second)
}

// run makes all runs. A run that fails is recorded with its error and the others go on; only a cancelled context and
// records that cannot be written end it early.
func (r *runner) run(ctx context.Context) ([]record, error) {
	jobs := r.jobs()
	line := progress.New(r.progress, 0)
	fmt.Fprintf(line, "%d runs, about %v\n", len(jobs), r.estimate(jobs))
	var records []record
	for i, j := range jobs {
		begin := time.Now()
		stop := line.Every(time.Second, func() string { return r.left(jobs[i:], i+1, len(jobs), time.Since(begin)) })
		v, notes, err := r.runOne(ctx, j)
		stop()
		if ctx.Err() != nil {
			return records, context.Cause(ctx)
		}
		next := record{
			Row: j.row.name, Product: j.product.name, Round: j.round,
			Start: begin, Seconds: time.Since(begin).Seconds(), Values: v, notes: notes,
		}
		if err != nil {
			next.Error = err.Error()
		}
		if err := writeRecord(r.raw, next); err != nil {
			return records, err
		}
		records = append(records, next)
		fmt.Fprintf(line, "[%d/%d] %s\n", i+1, len(jobs), next.line(j.row))
	}
	return records, nil
}

// left describes the first of the jobs that are left, which has run for a time, and how long all of them take.
func (r *runner) left(jobs []job, number, of int, running time.Duration) string {
	j := jobs[0]
	return fmt.Sprintf("[%d/%d] %s, round %d of %d, %s: %s; about %s left", number, of, j.row.name, j.round, r.options.rounds, j.product.name,
		running.Round(time.Second), progress.Seconds(max(r.estimate(jobs)-running, r.estimate(jobs[1:]))))
}

// runOne makes one run, leaving no process behind.
func (r *runner) runOne(ctx context.Context, j job) (v values, n notes, err error) {
	dir, err := os.MkdirTemp(r.scratch, "run-")
	if err != nil {
		return nil, n, err
	}
	t := &trial{row: j.row, window: j.row.window(r.options.window()), dir: dir, self: r.self}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.open(ctx, j.product, cmp.Or(j.row.threads, r.options.threads)); err != nil {
		return nil, n, err
	}
	v, err = j.row.drive(ctx, t)
	return v, t.notes, err
}

// line summarizes the result of a run.
func (r record) line(of row) string {
	text := fmt.Sprintf("%s, round %d, %s:", r.Row, r.Round, r.Product)
	if r.Error != "" {
		return text + " failed: " + r.Error
	}
	for _, f := range families() {
		if f.name != of.family {
			continue
		}
		for _, m := range f.metrics {
			if value, ok := r.Values[m]; ok {
				text += fmt.Sprintf(" %s %s;", figureCell(value), m.title())
			}
		}
	}
	return text + fmt.Sprintf(" %.1f s", r.Seconds)
}

// checkTools returns the missing programs that every run needs.
func checkTools(rows []row) error {
	needed := map[string]string{"setpriv": "util-linux"}
	for _, r := range rows {
		switch r.kind {
		case redisServer:
			needed["redis-server"], needed["redis-benchmark"] = "redis-server", "redis-tools"
		case webServer:
			needed["nginx"], needed["wrk"] = "nginx", "wrk"
		case iperfServer:
			needed["iperf3"] = "iperf3"
		case noServer:
			needed["chrt"] = "util-linux"
		case sourceServer, openServer, echoServer, joiningServer: // this program itself
		}
	}
	var errs []error
	for tool, from := range needed {
		if _, err := exec.LookPath(tool); err != nil {
			errs = append(errs, fmt.Errorf("%s is missing (Debian package %s)", tool, from))
		}
	}
	return errors.Join(errs...)
}

// newResultsDir creates the directory for this invocation's results, named after the time.
func newResultsDir(parent string, now time.Time) (string, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	dir := filepath.Join(parent, now.Format("2006-01-02-150405"))
	return dir, os.Mkdir(dir, 0o755)
}
