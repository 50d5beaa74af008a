// Package proxy parses and writes PROXY protocol headers for the data path. It is pure: it converts bytes to addresses
// and back, and allocates nothing except growth of the slices that callers append to.
//
// Source: "The PROXY protocol, versions 1 & 2", Willy Tarreau. Comments refer to its sections.
package proxy
