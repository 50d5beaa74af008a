// Package conf turns a TOML file into a validated, typed specification (Load), and tells the difference between two
// specifications as a printable Plan (Diff). It is pure data: apart from reading the file it does no I/O, resolves no
// name and opens no socket, so `weir check` and a real start share every line of it.
package conf
