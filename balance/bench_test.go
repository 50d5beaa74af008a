package balance

import (
	"fmt"
	"strconv"
	"testing"
	"time"
)

// newCluster returns a cluster of n servers in one level, with weights from 1 to 4.
func newCluster(m Method, n int) *Cluster {
	var l LevelSpec
	for i := range n {
		name := "10." + strconv.Itoa(i/65536) + "." + strconv.Itoa(i/256%256) + "." + strconv.Itoa(i%256) + ":6379"
		l.Servers = append(l.Servers, ServerSpec{Name: name, Address: name, Weight: 1 + i%4})
	}
	return New(Spec{Method: m, Levels: []LevelSpec{l}}, 1, nil)
}

// One session per iteration: Pick and Done.
func BenchmarkPick(b *testing.B) {
	for m := range methods {
		for _, n := range []int{10, 1000, 10000} {
			b.Run(fmt.Sprintf("%v/%d", m, n), func(b *testing.B) {
				c := newCluster(m, n)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					t := Attempts{Key: splitMix64(uint64(i)), Keyed: true}
					lease, err := c.Pick(time.Duration(i), &t)
					if err != nil {
						b.Fatal(err)
					}
					lease.Done(time.Duration(i))
				}
			})
		}
	}
}

// The part of Prepare that builds tables without the lock.
func BenchmarkTable(b *testing.B) {
	for _, m := range []Method{Hash, Maglev} {
		for _, n := range []int{10, 1000, 10000} {
			b.Run(fmt.Sprintf("%v/%d", m, n), func(b *testing.B) {
				c := newCluster(m, n)
				t := c.levels[0].table
				for b.Loop() {
					newTable(m, t.points, t.weights)
				}
			})
		}
	}
}
