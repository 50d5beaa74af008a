package soak

// What is written during the run and at its end.

import (
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"weir/internal/progress"
)

// left describes what is left of the run.
func (s *soak) left(now time.Time) string {
	j := s.verifier
	j.mu.Lock()
	defer j.mu.Unlock()
	return fmt.Sprintf("%s left, %d clients, %d problems", progress.Seconds(s.ends.Sub(now)), s.Clients, j.problemCount)
}

func (s *soak) progress() {
	j := s.verifier
	j.mu.Lock()
	defer j.mu.Unlock()
	total := 0
	for _, n := range j.outcomes {
		total += n
	}
	fmt.Fprintf(s.Out, "%4.0fs  %d sessions, %d complete, %d MB, %d reloads, %d requests, %d problems, %s left\n",
		time.Since(s.begun).Seconds(), total, j.outcomes[outcomeComplete], j.bytes>>20, s.faults.reloads.Load(), s.faults.requests.Load(), j.problemCount, progress.Seconds(time.Until(s.ends)))
	for ; s.shown < len(j.problems); s.shown++ {
		fmt.Fprintln(s.Out, "WRONG:", j.problems[s.shown])
	}
}

// report writes the summary and the problems.
func (s *soak) report(before, after footprint) error {
	j := s.verifier
	j.mu.Lock()
	defer j.mu.Unlock()
	t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	row := func(what string, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", what, fmt.Sprintf(format, args...))
	}
	for _, o := range slices.Sorted(maps.Keys(j.outcomes)) {
		row("clients: "+string(o), "%d", j.outcomes[o])
	}
	rejected := 0
	for _, n := range j.rejected {
		rejected += n
	}
	row("clients: rejected by a limit", "%d", rejected)
	row("datagrams sent, echoed, lost", "%d, %d, %d", j.tally.sent, j.tally.answered, j.tally.lost)
	row("datagrams missing, overflows of this host", "%d, %d", j.tally.missing, overflows()-s.overflowsBefore)
	row("bytes seen by clients", "%d MB", j.bytes>>20)
	ends := map[string]int{}
	for _, of := range j.ends {
		for end, n := range of {
			ends[end] += n
		}
	}
	for _, end := range slices.Sorted(maps.Keys(ends)) {
		row("weir: "+end, "%d", ends[end])
	}
	done := s.faults.faultLog.count()
	row("servers killed", "%d", done[killed])
	row("reloads", "%d with %d changes", s.faults.reloads.Load(), s.faults.changes.Load())
	row("reloads by SIGHUP in storms", "%d", s.faults.hangUps.Load())
	row("times in which servers refused", "%d", s.faults.refusals.Load())
	row("changes of found servers, answers that were garbage or late", "%d, %d", s.faults.listings.Load(), s.faults.garbled.Load())
	row("upgrades", "%d", s.weir.upgrades)
	row("suspensions of weir", "%d", done[suspended])
	row("requests of the API", "%d", s.faults.requests.Load())
	row("stalls of the clients", "%d", done[stalled])
	row("servers down because of a busy machine", "%d", done[slow])
	row("states overridden, sessions cut", "%d, %d", done[maint], done[kill])
	row("descriptors before, after", "%v, %v", kinds(before), kinds(after))
	row("goroutines before, after", "%d, %d", before.goroutines, after.goroutines)
	row("resident memory before, after", "%d MB, %d MB", before.rss>>20, after.rss>>20)
	row("problems", "%d", j.problemCount)
	_ = t.Flush()
	for _, w := range j.problems {
		fmt.Fprintln(s.Out, "WRONG:", w)
	}
	if j.problemCount > 0 {
		return fmt.Errorf("%d problems; repeat with seed %d", j.problemCount, s.Seed)
	}
	return nil
}
