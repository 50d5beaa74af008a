package rollout

import (
	"fmt"
	"slices"
	"time"
)

// What a watched node may do worse than before and than the nodes that still run the previous revision. Twice their share
// and one percent absorb chance; a few failures prove nothing.
const (
	problemGrace = 3 * time.Second // checks of different nodes find the same failure at different times
	fewFailures  = 3
	shareFactor  = 2
	shareMargin  = 0.01
)

// judge returns why the revision is bad for a node that runs it; "" = it is not. ending is set at the end of the pause.
func (d *Driver) judge(now time.Duration, node string, r *Record, v View, ending bool) string {
	report := v.Reports[node]
	for _, p := range report.Now.Problems {
		key := node + "\n" + p
		if slices.Contains(report.Before.Problems, p) || elsewhere(p, r, v) {
			delete(d.newProblem, key)
			continue
		}
		if _, known := d.newProblem[key]; !known {
			d.newProblem[key] = now
		}
		if ending || now >= d.newProblem[key]+problemGrace {
			return "new problem: " + p
		}
	}
	own := since(report.Now, report.Applied)
	for _, kind := range []struct {
		text  string
		count func(Figures) uint64
	}{
		{"sessions failed", func(f Figures) uint64 { return f.Failed }},
		{"clients refused", func(f Figures) uint64 { return f.Refused }},
	} {
		count, all := kind.count(own), total(own)
		if count < fewFailures {
			continue
		}
		before := share(kind.count(report.Before), total(report.Before))
		others := d.othersShare(r, v, kind.count)
		if share(count, all) > shareFactor*max(before, others)+shareMargin {
			return fmt.Sprintf("%d of %d %s (%.1f %% before, %.1f %% on the other nodes)", count, all, kind.text, 100*before, 100*others)
		}
	}
	return ""
}

// elsewhere reports whether a node that runs the previous revision has a problem too.
func elsewhere(problem string, r *Record, v View) bool {
	for node, report := range v.Reports {
		if v.Live[node] != "" && report.Runs != r.To && slices.Contains(report.Now.Problems, problem) {
			return true
		}
	}
	return false
}

// othersShare returns the share of the clients of nodes with the previous revision that a counter counts, since the watch began.
func (d *Driver) othersShare(r *Record, v View, count func(Figures) uint64) float64 {
	var counted, all uint64
	for node, report := range v.Reports {
		base, known := d.base[node]
		if !known || report.Runs == r.To {
			continue
		}
		f := since(report.Now, base)
		counted, all = counted+count(f), all+total(f)
	}
	return share(counted, all)
}

// total returns the number of clients: those that were accepted and those that were not.
func total(f Figures) uint64 { return f.Sessions + f.Refused }

func share(count, all uint64) float64 {
	if all == 0 {
		return 0
	}
	return float64(count) / float64(all)
}

// since returns the difference of two counts. A counter that has become lower has started again.
func since(now, base Figures) Figures {
	diff := func(a, b uint64) uint64 {
		if a < b {
			return a
		}
		return a - b
	}
	return Figures{Sessions: diff(now.Sessions, base.Sessions), Failed: diff(now.Failed, base.Failed), Refused: diff(now.Refused, base.Refused)}
}
