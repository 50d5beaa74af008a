// Package weirtest runs the built weir in tests: it builds the binary, starts it with a configuration, reads its log, calls
// its API and commands, and checks at the end that it stops cleanly and has leaked nothing.
package weirtest
