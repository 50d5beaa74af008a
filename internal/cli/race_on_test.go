//go:build race

package cli

const raceFactor = 10 // how much slower and larger the race detector may make a program
