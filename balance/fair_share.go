package balance

import (
	"cmp"
	"slices"
)

// fairShares divides sessions among servers by their steps, with whole numbers: every server gets its exact share rounded
// down, and the sessions that are left go to the largest remainders (Hamilton's method); ties go to the server that is
// earlier. No share exceeds a limit (0 = none) as long as the others can take the rest. Servers with step 0 get nothing
// unless all have step 0: then they count equally.
func fairShares(sessions int, steps []int64, limits []int) []int {
	shares := make([]int, len(steps))
	open := make([]bool, len(steps))
	weight := func(i int) int64 { return steps[i] }
	total := int64(0)
	for _, step := range steps {
		total += step
	}
	if total == 0 {
		weight = func(int) int64 { return 1 }
	}
	capped := true
	for i := range steps {
		open[i] = weight(i) > 0
		capped = capped && (!open[i] || limits[i] > 0)
	}
	room := 0
	for i := range steps {
		if open[i] {
			room += limits[i]
		}
	}
	if capped && room < sessions { // the limits leave no room for all: they end no session
		divide(shares, sessions, open, weight)
		return shares
	}
	for left := sessions; ; {
		divide(shares, left, open, weight)
		full := false
		for i := range shares {
			if open[i] && limits[i] > 0 && shares[i] > limits[i] {
				shares[i], open[i], full = limits[i], false, true
				left -= limits[i]
			}
		}
		if !full {
			return shares
		}
	}
}

// divide sets the shares of open servers.
func divide(shares []int, sessions int, open []bool, weight func(int) int64) {
	total := int64(0)
	for i := range shares {
		if open[i] {
			total += weight(i)
		}
	}
	if total == 0 {
		return
	}
	left := sessions
	remainders := make([]int64, len(shares))
	for i := range shares {
		if !open[i] {
			continue
		}
		exact := int64(sessions) * weight(i)
		shares[i], remainders[i] = int(exact/total), exact%total
		left -= shares[i]
	}
	order := make([]int, 0, len(shares))
	for i := range shares {
		if open[i] {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(remainders[b], remainders[a]) })
	for _, i := range order[:left] {
		shares[i]++
	}
}
