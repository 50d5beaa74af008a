package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// arrivals is a load of sessions that begin at random times, whether earlier ones have ended or not.
type arrivals struct {
	target    string
	perSecond int
	slowAfter time.Duration // when the first server becomes slow
	notice    time.Duration // after which sessions count
	length    time.Duration
}

// arrivalsResult is what the arrivals subcommand prints, as JSON.
type arrivalsResult struct {
	Sessions int     `json:"sessions"` // in all
	Failures int     `json:"failures"`
	P50      float64 `json:"p50_ms"` // of those that count
	P99      float64 `json:"p99_ms"`
}

// arrivalPatience is how long a session may take.
const arrivalPatience = 5 * time.Second

// run is the arrivals subcommand.
func (a arrivals) run(out io.Writer) error {
	var result arrivalsResult
	var mu sync.Mutex // of result and times
	times := hdrhistogram.New(int64(time.Microsecond), int64(2*arrivalPatience), 3)
	var work sync.WaitGroup
	begin := time.Now()
	toldSlow := false
	for next := time.Duration(0); next < a.length; next += time.Duration(rand.ExpFloat64() / float64(a.perSecond) * float64(time.Second)) {
		time.Sleep(time.Until(begin.Add(next)))
		if next >= a.slowAfter && !toldSlow {
			if err := a.session(askSlow); err != nil {
				return fmt.Errorf("making the first server slow: %w", err)
			}
			toldSlow = true
		}
		counts := next >= a.slowAfter+a.notice
		work.Go(func() { // ends within arrivalPatience
			began := time.Now()
			err := a.session(askService)
			took := time.Since(began)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && counts {
				err = times.RecordValue(int64(took))
			}
			if result.Sessions++; err != nil {
				result.Failures++
			}
		})
	}
	work.Wait()
	if times.TotalCount() == 0 {
		return errors.New("no session succeeded")
	}
	result.P50, result.P99 = float64(times.ValueAtPercentile(50))/1e6, float64(times.ValueAtPercentile(99))/1e6
	return json.NewEncoder(out).Encode(result)
}

// session is one session with a request.
func (a arrivals) session(request byte) error {
	conn, err := net.DialTimeout("tcp4", a.target, arrivalPatience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(arrivalPatience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{request}); err != nil {
		return err
	}
	var reply [1]byte
	_, err = io.ReadFull(conn, reply[:])
	return err
}
