package tcp_test

import (
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Waiting for a ClientHello and choosing a route by its name costs at most a tenth of a short connection, in processor time and
// in connections per second. Both listeners are of one process and get the same bytes in turns.
func TestRoutesCostLittle(t *testing.T) { // alone: it measures time
	const rounds, workers = 101, 16
	each := weirtest.Scaled(10)
	server := nettest.Start(t, nettest.Echo).Addr()
	routed, plain := nettest.Reserve(t), nettest.Reserve(t)
	w := weirtest.Start(t, fmt.Sprintf("[admin]\nlisten = \"\"\n[log]\nformat = \"json\"\nsessions = \"off\"\n"+
		"[[listener]]\nname = \"plain\"\naddress = %q\ncluster = \"c\"\n[[listener]]\nname = \"routed\"\naddress = %q\ncluster = \"c\"\n%s", plain, routed, nameRoutes)+
		clusterTable("a", server)+clusterTable("b", server)+clusterTable("c", server))
	hello := clientHello("x.shop.example.com", 1500, oneRecord, "h2", "http/1.1")

	run := func(addr string) (perConnection, took time.Duration) {
		before, begin := w.Process().CPUTime(t), time.Now()
		var work weirtest.Group
		var left atomic.Int64
		left.Store(int64(each))
		for range workers {
			work.Go(func() error {
				got := make([]byte, len(hello))
				for left.Add(-1) >= 0 {
					c, err := nettest.TryDial(addr)
					if err != nil {
						return err
					}
					c.SetDeadline(time.Now().Add(time.Minute))
					if _, err = c.Write(hello); err == nil {
						_, err = io.ReadFull(c, got)
					}
					c.Close()
					if err != nil || !slices.Equal(got, hello) {
						return fmt.Errorf("wrong echo: %v", err)
					}
				}
				return nil
			})
		}
		require.NoError(t, work.Wait())
		took = time.Since(begin) / time.Duration(each)
		return (w.Process().CPUTime(t) - before) / time.Duration(each), took
	}
	var cpu, pace [2][]time.Duration
	var cpuRatios, paceRatios []float64
	for i := -1; i < rounds; i++ { // the first round is not counted
		var c, p [2]time.Duration
		for j := range 2 {
			kind := (i + 1 + j) % 2 // in alternating order
			c[kind], p[kind] = run([]string{plain, routed}[kind])
		}
		if i < 0 {
			continue
		}
		for kind := range 2 {
			cpu[kind], pace[kind] = append(cpu[kind], c[kind]), append(pace[kind], p[kind])
		}
		cpuRatios = append(cpuRatios, float64(c[1])/float64(c[0]))
		paceRatios = append(paceRatios, float64(p[1])/float64(p[0]))
	}
	median := func(ratios []float64) float64 {
		slices.Sort(ratios)
		return ratios[len(ratios)/2]
	}
	processor, wall := median(cpuRatios), median(paceRatios)
	t.Logf("%d connections: processor time each %v without routes and %v with routes, ratio %.3f (%.3f to %.3f); time each %v and %v, ratio %.3f",
		rounds*each, weirtest.Median(cpu[0]), weirtest.Median(cpu[1]), processor, cpuRatios[0], cpuRatios[rounds-1], weirtest.Median(pace[0]), weirtest.Median(pace[1]), wall)
	weirtest.RecordFigures(t, "cpu_ratio", fmt.Sprintf("%.3f", processor), "time_ratio", fmt.Sprintf("%.3f", wall))
	most := 1.10
	if !weirtest.Campaign() { // few connections on a busy machine
		most = 1.5
	}
	require.Less(t, processor, most)
	require.Less(t, wall, most)
}
