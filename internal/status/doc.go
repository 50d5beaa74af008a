// Package status is what is observed of a running weir, as plain data with the names that the API gives it. Values are
// copies: they share nothing with what runs. The package imports nothing of weir, so that all who show or ask for the
// state of one can share it.
package status
