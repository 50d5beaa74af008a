// Package hooks sends events to event hooks: it runs a program or posts to a URL for every event that a hook selects.
// Each hook has its own queue and goroutine. It gets its events in order, and a slow or failing hook delays nothing
// else. The time of programs and requests, and the bytes read from them, are limited.
package hooks
