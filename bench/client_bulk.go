package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// bulkResult is what the bulk subcommand prints, as JSON.
type bulkResult struct {
	Bytes   uint64  `json:"bytes"`
	Seconds float64 `json:"seconds"` // from the first wish to the last byte
}

// runBulk is the bulk subcommand: it opens streams, then reads all of them for the given time and reports the sum. Any
// stream that does not end with the count the server sent is an error.
func runBulk(out io.Writer, target string, streams int, length time.Duration) error {
	conns := make([]net.Conn, streams)
	for i := range conns {
		conn, err := net.Dial("tcp4", target)
		if err != nil {
			return err
		}
		defer conn.Close()
		conns[i] = conn
	}
	type end struct {
		bytes uint64
		err   error
	}
	ends := make(chan end)
	begin := time.Now()
	for _, conn := range conns {
		go func() { // ends with the stream; received below
			n, err := readStream(conn, length)
			ends <- end{n, err}
		}()
	}
	var sum bulkResult
	var errs []error
	for range conns {
		end := <-ends
		sum.Bytes += end.bytes
		errs = append(errs, end.err)
	}
	sum.Seconds = time.Since(begin).Seconds()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(sum)
}

// readStream requests bytes, discards them, checks the count at the stream's end, and returns it.
func readStream(conn io.ReadWriter, length time.Duration) (uint64, error) {
	var header [bulkHeader]byte
	binary.BigEndian.PutUint64(header[:], uint64(length.Milliseconds()))
	if _, err := conn.Write(header[:]); err != nil {
		return 0, err
	}
	var (
		got  uint64
		last lastBytes
		buf  = make([]byte, sourceChunk)
	)
	for {
		n, err := conn.Read(buf)
		got += uint64(n)
		last.add(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return got, fmt.Errorf("after %d bytes: %w", got, err)
		}
	}
	if sent := binary.BigEndian.Uint64(last[:]); got != sent+bulkHeader {
		return got, fmt.Errorf("received %d bytes, want %d by the count at the end of the stream", got, sent)
	}
	return got - bulkHeader, nil
}

// lastBytes holds the last bytes of a stream, however it is cut into reads.
type lastBytes [bulkHeader]byte

func (l *lastBytes) add(b []byte) {
	if len(b) >= len(l) {
		copy(l[:], b[len(b)-len(l):])
		return
	}
	copy(l[:], l[len(b):])
	copy(l[len(l)-len(b):], b)
}
