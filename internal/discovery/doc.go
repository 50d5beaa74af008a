// Package discovery asks providers for servers: files, URLs and programs that list the servers of a level.
//
// A Provider asks one source for its current Answer. A Watcher asks periodically, and when the provider notices a change, and
// publishes every Result. What an answer means for a cluster is decided by its consumer. Everything that a provider gives is
// bounded, and what it gives wrongly is reported and skipped.
package discovery
