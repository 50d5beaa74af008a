package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// report is the content of a report on the runs of an invocation.
type report struct {
	setup   setup
	records []record
	lines   []comparison
}

func newReport(s setup, records []record) report {
	return report{setup: s, records: records, lines: compare(collect(records))}
}

// tables renders the tables for the terminal, which are also the head of the summary.
func (r report) tables() string {
	var b strings.Builder
	b.WriteString(mainTable(r.lines, r.setup.Products).String())
	if t := beforeAfterTable(r.lines); t != nil {
		fmt.Fprintf(&b, "\nBefore and after:\n\n%s", t)
	}
	if t := growthTable(growths(r.lines), r.setup.Products); t != nil {
		fmt.Fprintf(&b, "\nGrowth:\n\n%s", t)
	}
	if list := reasonsForDoubt(r.records, r.lines); list != nil {
		b.WriteString("\nDoubts:\n\n")
		for _, doubt := range list {
			fmt.Fprintf(&b, "* %s\n", doubt)
		}
	}
	return b.String()
}

// summary renders the Markdown page. Plots are linked relative to the page: prefix leads from there to their directory.
func (r report) summary(plots []string, prefix string) string {
	var b strings.Builder
	s := r.setup
	fmt.Fprintf(&b, "# Measured on %s\n\n", s.Date.Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(&b, "%s, %d CPUs, %s; load generator, proxy and servers share them. %d alternating rounds, windows of %d s, "+
		"%d threads per proxy, TCP congestion control %s. Figures are medians; a ratio is the median of the rounds' ratios to the better of HAProxy "+
		"and nginx.\n\n", s.Machine.Model, s.Machine.CPUs, s.Machine.Kernel, s.Rounds, s.Seconds, s.Threads, s.Congestion)
	for _, name := range s.Products {
		fmt.Fprintf(&b, "* %s: %s\n", name, s.Versions[name])
	}
	fmt.Fprintf(&b, "* tools: %s\n\n%s", strings.Join(s.Tools, "; "), r.tables())
	fmt.Fprintf(&b, "\nEvery single run: [%s](%s).\n", runsFile, prefix+runsFile)
	for _, plot := range plots {
		fmt.Fprintf(&b, "\n![%s](%s)\n", strings.TrimSuffix(plot, filepath.Ext(plot)), prefix+plot)
	}
	return b.String()
}

// write writes plots and summary to dir, and a copy of the summary beside dir as the latest one.
func (r report) write(dir string) error {
	plots, err := drawAll(dir, r.lines, r.setup.Products)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, summaryFile), []byte(r.summary(plots, "")), 0o644); err != nil {
		return err
	}
	latest := r.summary(plots, filepath.Base(dir)+"/")
	return os.WriteFile(filepath.Join(filepath.Dir(dir), latestFile(r.setup.Congestion)), []byte(latest), 0o644)
}

// latestFile is the name of the last summary with a congestion control, beside the results directories.
func latestFile(congestion string) string {
	if congestion == "" { // results of earlier versions
		return "latest.md"
	}
	return "latest-" + congestion + ".md"
}
