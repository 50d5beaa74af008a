// Package direntry opens, creates, renames and removes files in directories that other users may change at any moment.
// Links of other users are not followed, and every operation is relative to the descriptor of a directory that was reached
// without them. A process with privileges is not led elsewhere by a directory that is replaced by a link in between.
package direntry
