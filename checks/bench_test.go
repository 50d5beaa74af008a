package checks

import (
	"context"
	"fmt"
	"testing"
	"time"

	"weir/conf"
	"weir/internal/nettest"
)

func manyJobs(n int) []Job {
	jobs := make([]Job, n)
	for i := range jobs {
		name := fmt.Sprint(i)
		jobs[i] = Job{
			Monitor: func(context.Context, Target) (Report, error) { return Report{}, nil }, Identity: name,
			Target: Target{Cluster: "c", Server: name, Address: name},
			Spec: conf.Check{
				ID: "tcp", Interval: time.Hour, Timeout: time.Second, Rise: 2, Fall: 3,
				Steps: []conf.Step{{Send: []byte("PING\r\n"), Expect: []byte("+PONG")}},
			},
		}
	}
	return jobs
}

// BenchmarkUpdate measures a reload that changes none of 10,000 jobs.
func BenchmarkUpdate(b *testing.B) {
	r := NewRunner(Options{})
	defer r.Close()
	r.Update(manyJobs(10_000))
	for b.Loop() {
		r.Update(manyJobs(10_000))
	}
}

func BenchmarkTCPConnect(b *testing.B) {
	h := nettest.Start(b, nettest.Silent)
	for name, o := range map[string]TCP{"visible": {}, "quiet": {Quiet: true}} {
		b.Run(name, func(b *testing.B) {
			monitor, err := o.Monitor()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				if _, err := monitor(ctx, Target{Address: h.Addr()}); err != nil {
					b.Fatal(err)
				}
				cancel()
			}
		})
	}
}
