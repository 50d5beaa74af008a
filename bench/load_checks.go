package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"
)

// The checks of the family about them, for every product the same.
const (
	checkInterval = 2 * time.Second
	checkTimeout  = time.Second
	checkFall     = 3

	// checkWindow is how long the cost of checks is measured: five rounds of them.
	checkWindow = 5 * checkInterval
	// checkWarmUp is how long they run before that: the first round is distributed in a special way.
	checkWarmUp = 2 * checkInterval
	// verdictTimeout bounds the wait for verdicts.
	verdictTimeout = 60 * time.Second
)

// checkServers measures the proxy's checks of healthy servers, which is nearly all it does, and then stops all servers
// at once.
func checkServers(ctx context.Context, t *trial) (values, error) {
	if err := pause(ctx, checkWarmUp); err != nil {
		return nil, err
	}
	begin := time.Now()
	before, err := t.read()
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, t.window); err != nil {
		return nil, err
	}
	after, err := t.read()
	if err != nil {
		return nil, err
	}
	length := time.Since(begin).Seconds()
	cpu := after.proxy.since(before.proxy)
	t.notes.OtherCores = max(0, (after.busy-before.busy-cpu-after.server.since(before.server)).Seconds()/length)
	v := values{metricCores: cpu.Seconds() / length}

	t.server.stop()
	gone := time.Now()
	down, err := openDowns(t.proxy.log)
	if err != nil {
		return nil, err
	}
	defer down.log.Close()
	for half := false; ; {
		n, err := down.count()
		if err != nil {
			return nil, err
		}
		since := time.Since(gone)
		if !half && n >= t.row.servers/2 {
			half, v[metricVerdict] = true, since.Seconds()
		}
		if n >= t.row.servers {
			v[metricVerdicts] = since.Seconds()
			return v, nil
		}
		if since > verdictTimeout {
			return nil, t.proxy.failure(fmt.Errorf("%d of %d servers down after %v", n, t.row.servers, verdictTimeout))
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// pause waits, unless the context ends.
func pause(ctx context.Context, d time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-limited.Done()
	return context.Cause(ctx)
}

// countDowns counts the servers that have gone down according to a proxy's log.
type countDowns struct {
	log  *os.File
	rest []byte // the beginning of a line whose end is not there yet
	n    int
}

func openDowns(path string) (*countDowns, error) {
	log, err := os.Open(path)
	return &countDowns{log: log}, err
}

func (d *countDowns) count() (int, error) {
	var b [64 << 10]byte
	for {
		n, err := d.log.Read(b[:])
		text := append(d.rest, b[:n]...)
		end := bytes.LastIndexByte(text, '\n') + 1
		for line := range bytes.Lines(text[:end]) {
			if bytes.Contains(line, []byte("event=server_down")) || bytes.Contains(line, []byte(" is DOWN")) {
				d.n++
			}
		}
		d.rest = bytes.Clone(text[end:])
		if n == 0 {
			return d.n, ignoreEOF(err)
		}
	}
}
