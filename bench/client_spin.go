package main

import "io"

// runSpin is the spin subcommand: it uses one CPU until its input ends.
func runSpin(in io.Reader) error {
	ended := make(chan error, 1)
	go func() { // ends with the input; received below
		_, err := io.Copy(io.Discard, in)
		ended <- err
	}()
	for {
		for range 1 << 20 { // a few hundred microseconds without a system call
		}
		select {
		case err := <-ended:
			return err
		default:
		}
	}
}
