// Package hooks tells others what happens to a running weir: it runs a program or posts to a URL for every event that a
// hook is for. Each hook has a queue and a goroutine of its own, so that it sees its events in order and a slow or
// failing one delays nothing. Programs and requests are bounded in time and in what is read of them.
package hooks
