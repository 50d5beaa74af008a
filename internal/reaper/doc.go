// Package reaper waits for processes that the kernel gives to this one: the orphans of a PID namespace, if this process
// is its PID 1, or of its own descendants, if it is a child subreaper (prctl(2)). Programs that this process starts are
// never waited for twice, provided that they are started and waited for with this package.
package reaper
