package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// requests is the number of requests of one sample.
const requests = 8

// sample asks several times which server responds. It returns one line, and the number of requests without a response.
func (d *demo) sample() (line string, failed int) {
	var seen []string
	for range requests {
		if name, err := ask(d.listen); err == nil {
			seen = append(seen, name)
		}
	}
	switch failed = requests - len(seen); {
	case failed == 0:
		return "served by  " + strings.Join(seen, " "), 0
	case len(seen) == 0:
		return fmt.Sprintf("no server responds: %d of %d requests failed", failed, requests), failed
	}
	return fmt.Sprintf("served by  %s  (%d of %d requests failed)", strings.Join(seen, " "), failed, requests), failed
}

// ask opens a session through weir and returns the name of the server that responds.
func ask(address string) (string, error) {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "*2\r\n$3\r\nGET\r\n$4\r\nname\r\n"); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	if _, err := r.ReadString('\n'); err != nil { // the length of the bulk string
		return "", err
	}
	name, err := r.ReadString('\n')
	return strings.TrimSpace(name), err
}
