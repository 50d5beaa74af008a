package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// openers is how many sessions the hold subcommand opens at a time.
const openers = 32

// holding is what the hold subcommand prints once all sessions are open.
const holding = "all sessions are open"

// runHold is the hold subcommand: it opens sessions, verifies each by one PING to the redis-server, keeps them idle
// until in ends, and closes them.
func runHold(in io.Reader, out io.Writer, target string, sessions int) error {
	conns := make([]net.Conn, sessions)
	errs := make([]error, openers)
	var wg sync.WaitGroup
	for worker := range openers {
		wg.Go(func() {
			for i := worker; i < sessions; i += openers {
				conn, err := openSession(target)
				if err != nil {
					errs[worker] = fmt.Errorf("session %d: %w", i, err)
					return
				}
				conns[i] = conn
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Fprintln(out, holding)
	_, err := io.Copy(io.Discard, in)
	for _, conn := range conns {
		_ = conn.Close()
	}
	return err
}

// openSession connects and exchanges one PING, so that the session exists on both sides of a proxy.
func openSession(target string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second, KeepAlive: -1}
	conn, err := dialer.Dial("tcp4", target)
	if err != nil {
		return nil, err
	}
	if err := ask(conn, "PING\r\n", "+PONG\r\n"); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// ask sends a request and compares the reply, within 5 seconds; the connection has no deadline afterwards.
func ask(conn net.Conn, request, want string) error {
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	reply := make([]byte, len(want))
	if _, err := io.ReadFull(conn, reply); err != nil {
		return err
	}
	if string(reply) != want {
		return fmt.Errorf("got %q instead of %q", reply, want)
	}
	return conn.SetDeadline(time.Time{})
}
