//go:build race

package weirtest

const RaceEnabled = true
