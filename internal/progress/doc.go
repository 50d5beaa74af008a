// Package progress shows what a command waits for: on a terminal in one line that changes, elsewhere in a line now and then.
package progress
