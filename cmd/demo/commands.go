package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"time"
)

// readLines returns a channel of the lines of in, which is closed at its end.
func readLines(in io.Reader) <-chan string {
	c := make(chan string)
	go func() {
		defer close(c)
		for s := bufio.NewScanner(in); s.Scan(); {
			c <- strings.TrimSpace(s.Text())
		}
	}()
	return c
}

// runScript returns a channel of commands for a failover through both levels and back.
func runScript(ctx context.Context, step time.Duration) <-chan string {
	c := make(chan string)
	go func() {
		defer close(c)
		for _, command := range []string{"stop a", "stop b", "start a", "start b", "quit"} {
			select {
			case <-time.After(step):
			case <-ctx.Done():
				return
			}
			c <- command
		}
	}()
	return c
}
