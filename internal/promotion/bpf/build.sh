#!/bin/sh
# build.sh builds the BPF object and records the checksum of its source. go generate runs it in the package's directory.
set -eu
clang -O2 -g -target bpf -mcpu=v3 -Wall -Werror "-I/usr/include/$(gcc -print-multiarch)" -c bpf/forward.c -o forward_bpfel.o
llvm-strip -g forward_bpfel.o
sha256sum bpf/forward.c >bpf/forward.sha256
