package main

import (
	"fmt"
	"io"
	"time"
)

// simulateMethods prints the 99th percentile of session times in the family balance: one of ten servers is three times
// slower, and the methods have had two seconds to notice.
func simulateMethods(out io.Writer) error {
	const before = 5 * time.Second
	t := &table{titles: []string{"p99, ms", "perfect choice", "rr", "random", "least_sessions", "least_time", "least_time / perfect"}}
	for _, workers := range []int{2, 8, 32} {
		for _, load := range []float64{0.4, 0.6, 0.8} {
			sc := scenario{
				servers: 10, workers: workers, service: 10 * time.Millisecond, load: load, slow: 1, factor: 3, from: before, length: 20 * time.Second, seed: 7,
			}
			p99 := func(c chooser) float64 {
				return percentile(simulate(sc, c), before+2*time.Second, sc.length, 99).Seconds() * 1000
			}
			best := p99(omniscient{})
			cells := []string{fmt.Sprintf("%d requests at a time, load %.1f", workers, load), figureCell(best)}
			last := 0.0
			for _, method := range t.titles[2:6] {
				c, err := newViaBalance(sc, method)
				if err != nil {
					return err
				}
				last = p99(c)
				cells = append(cells, figureCell(last))
			}
			t.add(append(cells, ratioCell(last/best))...)
		}
	}
	_, err := fmt.Fprint(out, t)
	return err
}
