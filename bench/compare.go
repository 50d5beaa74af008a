package main

// figures are all values of an invocation, by row, metric and product.
type figures map[string]map[metric]map[string]byRound

// collect groups the values of the runs that succeeded.
func collect(records []record) figures {
	all := figures{}
	for _, r := range records {
		for m, value := range r.Values {
			if all[r.Row] == nil {
				all[r.Row] = map[metric]map[string]byRound{}
			}
			if all[r.Row][m] == nil {
				all[r.Row][m] = map[string]byRound{}
			}
			if all[r.Row][m][r.Product] == nil {
				all[r.Row][m][r.Product] = byRound{}
			}
			all[r.Row][m][r.Product][r.Round] = value
		}
	}
	return all
}

// comparison is one line of the table: one metric of one row.
type comparison struct {
	row    row
	metric metric
	of     map[string]spread // by product

	peer     string  // the better of the peers, by median; "" when none was measured
	ratio    *spread // weir over that peer, or over the product that the target names, round by round; nil without both
	oldRatio *spread // weir over the other weir binary
	target   *target
	verdict  string // "" without a target or a figure to judge
}

// compare computes every line that has figures, in the order of the rows.
func compare(all figures) []comparison {
	var lines []comparison
	for _, f := range families() {
		for _, r := range rows() {
			if r.family != f.name {
				continue
			}
			for _, m := range f.metrics {
				if products := all[r.name][m]; products != nil {
					lines = append(lines, compareOne(r, m, products))
				}
			}
		}
	}
	return lines
}

func compareOne(r row, m metric, products map[string]byRound) comparison {
	c := comparison{row: r, metric: m, of: map[string]spread{}}
	for name, rounds := range products {
		if s, ok := rounds.spread(); ok {
			c.of[name] = s
		}
	}
	for _, peer := range peers() {
		s, ok := c.of[peer]
		if !ok {
			continue
		}
		if best := c.of[c.peer].median; c.peer == "" || m.more() && s.median > best || !m.more() && s.median < best {
			c.peer = peer
		}
	}
	t, ok := targetOf(r, m)
	if ok && t.against != "" {
		c.peer = t.against
	}
	if ratio, ok := products[weirNew].over(products[c.peer]); ok {
		c.ratio = &ratio
	}
	if ratio, ok := products[weirNew].over(products[weirOld]); ok {
		c.oldRatio = &ratio
	}
	if !ok {
		return c
	}
	c.target = &t
	if own, ok := c.of[weirNew]; ok && t.absolute {
		c.verdict = t.judge(own.median, m.more())
	} else if c.ratio != nil {
		c.verdict = t.judge(c.ratio.median, m.more())
	}
	return c
}

// growth is how one metric of a family changes from its first point to its last, as a factor for each product.
type growth struct {
	family      family
	metric      metric
	first, last int
	factor      map[string]float64
}

// growths computes the growth of the families about growth, from the medians.
func growths(lines []comparison) []growth {
	var all []growth
	for _, f := range families() {
		if !f.growth {
			continue
		}
		for _, m := range f.metrics {
			var points []comparison
			for _, c := range lines {
				if c.row.family == f.name && c.metric == m {
					points = append(points, c)
				}
			}
			if len(points) < 2 {
				continue
			}
			first, last := points[0], points[len(points)-1]
			g := growth{family: f, metric: m, first: first.row.point, last: last.row.point, factor: map[string]float64{}}
			for product, s := range last.of {
				if base := first.of[product].median; base > 0 {
					g.factor[product] = s.median / base
				}
			}
			all = append(all, g)
		}
	}
	return all
}
