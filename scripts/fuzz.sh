#!/bin/sh
# Runs every fuzz target for a while: FUZZTIME=5s by default. Nightly: FUZZTIME=60s.
# As many run side by side as there are processors, each with one worker.
#
# Without a bound on minimising, Go spends the time of a short run on its first
# interesting input. Where the time runs out while a worker is still busy, the Go
# tool sometimes reports that alone ("context deadline exceeded") as a failure,
# without any failing input. Only that is tried again.
set -eu
cd "$(dirname "$0")/.."
time=${FUZZTIME:-5s}

if [ $# = 2 ]; then # PACKAGE TARGET
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	# A crasher leaves its input, or a panic.
	onlyLate() { grep -q 'context deadline exceeded' "$log" && ! grep -qE 'Failing input written|panic|fatal error' "$log"; }
	tries=3
	until go test "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 10x -parallel 1 </dev/null >"$log" 2>&1; do
		tries=$((tries - 1))
		if [ $tries = 0 ] || ! onlyLate; then
			cat "$log"
			echo "FAIL fuzz $1 $2"
			exit 255 # xargs starts no more
		fi
	done
	echo "fuzz $1 $2 $time: $(grep -o 'execs: [0-9]*' "$log" | tail -n 1)"
	exit
fi

go list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r pkg dir; do
	grep -hos '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | sed 's/^func //' | sort | while read -r target; do
		echo "$pkg" "$target"
	done
done | xargs -P "$(nproc 2>/dev/null || echo 2)" -n 2 sh scripts/fuzz.sh
