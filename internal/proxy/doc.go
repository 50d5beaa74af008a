// Package proxy reads and writes the headers of the PROXY protocol, with which a proxy tells a server for whom it comes.
// It is pure: bytes in, addresses out, and back; nothing allocates but the slices that callers append to.
//
// Source: "The PROXY protocol, versions 1 & 2", Willy Tarreau; sections are named where they matter.
package proxy
