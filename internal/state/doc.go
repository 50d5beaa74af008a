// Package state is the saved state of a weir process: the overrides, runtime changes, verdicts and agent advice that
// survive a restart or an upgrade. It has the types, their JSON codec and the file they are kept in.
package state
