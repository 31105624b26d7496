#!/bin/sh
# Runs every fuzz target for a while: FUZZTIME=5s by default. Nightly: FUZZTIME=60s.
#
# Where the time runs out while a worker is still busy, the Go tool sometimes
# reports that alone ("context deadline exceeded") as
# a failure, without any failing input. Only that is tried again.
set -eu
cd "$(dirname "$0")/.."
time=${FUZZTIME:-5s}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

fuzz() { # PACKAGE TARGET
  go test "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 10x -parallel 2 </dev/null >"$log" 2>&1
}

# A crasher leaves its input, or a panic.
onlyLate() { grep -q 'context deadline exceeded' "$log" && ! grep -qE 'Failing input written|panic|fatal error' "$log"; }

go list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r pkg dir; do
  grep -hos '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | sed 's/^func //' | sort | while read -r target; do
    tries=3
    until fuzz "$pkg" "$target"; do
      tries=$((tries - 1))
      if [ $tries = 0 ] || ! onlyLate; then
        cat "$log"
        echo "FAIL fuzz $pkg $target"
        exit 1
      fi
    done
    echo "fuzz $pkg $target $time: $(grep -o 'execs: [0-9]*' "$log" | tail -n 1)"
  done
done
