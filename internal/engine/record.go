package engine

// Session records on their way from the loops to the log.

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"weir/l4"
)

// recorder takes records from the loops without ever making them wait: what does not fit is counted and left out.
type recorder struct {
	log     *slog.Logger
	queue   chan l4.Record
	dropped atomic.Uint64
	done    sync.WaitGroup
}

const recordQueue = 4096

func newRecorder(log *slog.Logger) *recorder {
	r := &recorder{log: log, queue: make(chan l4.Record, recordQueue)}
	if log != nil {
		r.done.Go(r.write)
	}
	return r
}

func (r *recorder) put(rec l4.Record) {
	if r.log == nil {
		return
	}
	select {
	case r.queue <- rec:
	default:
		r.dropped.Add(1)
	}
}

func (r *recorder) write() {
	told := uint64(0)
	for rec := range r.queue {
		client := "unix"
		if rec.Client.IsValid() {
			client = rec.Client.String()
		}
		attrs := make([]slog.Attr, 0, 14)
		attrs = append(attrs,
			slog.Uint64("id", rec.ID), slog.String("listener", rec.Listener), slog.String("client", client),
			slog.String("cluster", rec.Cluster), slog.String("level", rec.Level), slog.String("server", rec.Server),
			slog.Int("attempts", rec.Attempts))
		if rec.Connect >= 0 {
			attrs = append(attrs, slog.Float64("connect_ms", ms(rec.Connect)))
		}
		if rec.FirstByte >= 0 {
			attrs = append(attrs, slog.Float64("first_byte_ms", ms(rec.FirstByte)))
		}
		attrs = append(attrs, slog.Float64("duration_ms", ms(rec.Duration)),
			slog.Uint64("bytes_up", rec.BytesUp), slog.Uint64("bytes_down", rec.BytesDown), slog.String("end", rec.End.String()))
		if n := r.dropped.Load(); n != told {
			attrs = append(attrs, slog.Uint64("records_dropped", n-told))
			told = n
		}
		r.log.LogAttrs(context.Background(), slog.LevelInfo, "session", attrs...)
	}
}

// ms is a duration in milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// close writes what is queued. Nothing may be put any more.
func (r *recorder) close() {
	close(r.queue)
	r.done.Wait()
}
