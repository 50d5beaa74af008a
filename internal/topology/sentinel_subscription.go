package topology

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weir/checks"
)

// notifications are the channels on which a Sentinel publishes what can change a decision or a role. +promoted-slave and
// +config-update-from precede +switch-master in the Sentinel that leads a failover and in the others.
var notifications = [...]string{
	"+switch-master", "+sentinel", "-odown", "+promoted-slave", "+config-update-from", "+slave", "+sdown", "-sdown",
}

// subscribeLoop keeps a subscription and wakes the watcher when a notification about the primary arrives.
func (s *sentinel) subscribeLoop() {
	w := s.watcher
	const shortest = 100 * time.Millisecond
	pace := max(min(w.options.Spec.Interval, time.Second), shortest)
	for failures := 1; ; failures++ {
		began := time.Now()
		err := s.subscribe(func() { failures = 0 })
		if w.ctx.Err() != nil {
			return
		}
		if failures >= failuresShown && !send(w.ctx, w.streams, streamState{s.index, "no notifications: " + err.Error()}) {
			return
		}
		select {
		case <-w.ctx.Done():
			return
		case <-time.After(jitter(max(pace-time.Since(began), shortest))):
		}
	}
}

// subscribe subscribes and reads notifications until the subscription fails. It calls subscribed when it works.
func (s *sentinel) subscribe(subscribed func()) error {
	w := s.watcher
	timeout, quiet := w.options.Spec.Timeout, max(w.options.Spec.Interval, time.Second)
	conn, err := s.client.Dial(w.ctx, timeout, s.target)
	if err != nil {
		return err
	}
	defer conn.Close()
	// One command for each channel: a user may lack the right to some of them.
	var commands [][]string
	for _, channel := range notifications {
		commands = append(commands, []string{"SUBSCRIBE", channel})
	}
	deadline := time.Now().Add(timeout)
	if err := conn.Send(deadline, commands...); err != nil {
		return err
	}
	for i, channel := range notifications {
		err := conn.Receive(deadline, maxAnswer, func([]int, []byte) {})
		switch {
		case err == nil:
		case !checks.IsRedisError(err), i == 0:
			return fmt.Errorf("SUBSCRIBE %s: %w", channel, err)
		}
	}
	subscribed()
	if !send(w.ctx, w.streams, streamState{s.index, ""}) {
		return w.ctx.Err()
	}
	signal(w.notified) // a change before the subscription was not published to it
	for pinged := false; ; {
		wait := quiet
		if pinged {
			wait = timeout
		}
		err := conn.Await(time.Now().Add(wait))
		switch {
		case errors.Is(err, context.DeadlineExceeded) && !pinged:
			if err := conn.Send(time.Now().Add(timeout), []string{"PING"}); err != nil {
				return err
			}
			pinged = true
			continue
		case err != nil:
			return err
		}
		pinged = false
		var m message
		if err := conn.Receive(time.Now().Add(timeout), maxAnswer, m.add); err != nil && !checks.IsRedisError(err) {
			return err
		}
		if m.concerns(w.options.Spec.Master) {
			signal(w.notified)
		}
	}
}
