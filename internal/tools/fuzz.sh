#!/bin/sh
# fuzz.sh TIME runs every fuzz target of the repository for the time given.
#
# fuzz.sh Nx runs every target until it has had N executions in all runs together. It records them after each part in
# bin/fuzz/executions.txt, so an interrupted run continues where it stopped, and prints that table at the end. An input
# that fails is kept by Go below the package's testdata/fuzz.
#
# The test programs are built here, with the fuzzer's counters in weir's own packages only. "go test -fuzz" counts in all
# packages, and reads all counters after each execution, which made it five times slower.
set -eu
export LC_ALL=C
limit=${1:-30s}
part=250000 # executions between two records; an interruption loses at most these
table=bin/fuzz/executions.txt
log=bin/fuzz/part.log
root=$PWD
mkdir -p "${table%/*}"

# targets lists the targets, one "DIRECTORY TARGET" per line.
targets() {
	grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do
		sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$file" | while read -r target; do
			echo "$(dirname "$file") $target"
		done
	done | sort
}

# executions prints the recorded executions of a directory's target.
executions() { awk -v d="$1" -v t="$2" '$1 == d && $2 == t { n = $3 } END { print n + 0 }' "$table"; }

# record adds executions to those of a directory's target.
record() {
	total=$(($(executions "$1" "$2") + $3))
	awk -v d="$1" -v t="$2" '$1 != d || $2 != t' "$table" >"$table.new"
	echo "$1 $2 $total" >>"$table.new"
	sort -o "$table" "$table.new"
	rm "$table.new"
}

# build builds the test program of a directory.
build() { go test -c -vet=off -gcflags='weir/...=-d=libfuzzer' -o "$(program "$1")" "$1"; }

program() { echo "$root/bin/fuzz/$(echo "$1" | tr -d . | tr / _).test"; }

# fuzz runs a directory's target for a time or a number of executions.
fuzz() {
	cache="$(go env GOCACHE)/fuzz/$(go list "$1")"
	(cd "$1" && "$(program "$1")" -test.run '^$' -test.fuzz "^$2\$" -test.fuzztime "$3" -test.fuzzminimizetime 10x -test.fuzzcachedir "$cache")
}

# run_part runs one part of a directory's target and records it.
run_part() {
	want=$(($3 < part ? $3 : part))
	status=0
	fuzz "$1" "$2" "${want}x" >"$log" 2>&1 || status=$?
	# The program prints its progress as "fuzz: elapsed: 3s, execs: 1234 (411/sec), …".
	ran=$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' "$log" | tail -n 1)
	record "$1" "$2" "${ran:-0}"
	if [ "$status" -ne 0 ] || [ "${ran:-0}" -eq 0 ]; then
		cat "$log"
		exit 1
	fi
}

case $limit in
*x)
	touch "$table"
	targets | while read -r dir target; do
		[ "$(executions "$dir" "$target")" -ge "${limit%x}" ] || build "$dir"
		while left=$((${limit%x} - $(executions "$dir" "$target"))) && [ "$left" -gt 0 ]; do
			echo "== $dir $target: $left executions left"
			run_part "$dir" "$target" "$left"
		done
	done
	cat "$table"
	;;
*)
	targets | while read -r dir target; do
		echo "== $dir $target"
		build "$dir"
		fuzz "$dir" "$target" "$limit"
	done
	;;
esac
