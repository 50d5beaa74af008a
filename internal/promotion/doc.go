// Package promotion lets the kernel forward the packets of sessions between client and server: BPF programs at the ingress of
// interfaces translate addresses and ports. User space decides which sessions, keeps their sockets, and reads what has passed.
//
// The object is built from bpf/forward.c by go generate, with clang 14 and libbpf's headers, and is committed with the
// checksum of its source.
package promotion

//go:generate sh bpf/build.sh
