//go:build !race

package weirtest

const RaceEnabled = false
