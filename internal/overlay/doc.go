// Package overlay keeps the servers and clusters that operators add, remove or replace at run time. An overlay is
// separate from the configuration of the file and is applied again whenever the file changes. The package is pure: it
// reads no file, no clock and no network.
package overlay
