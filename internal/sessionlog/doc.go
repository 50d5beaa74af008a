// Package sessionlog writes one log line for each session that has ended, in the text or JSON form of the other log lines.
// Event loops hand over records without blocking; a goroutine formats them and passes whole lines on in chunks.
package sessionlog
