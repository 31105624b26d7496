#!/bin/sh
# Runs every fuzz target for a while: FUZZTIME=5s by default.
set -eu
cd "$(dirname "$0")/.."
time=${FUZZTIME:-5s}
go list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r pkg dir; do
  grep -hos '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | sed 's/^func //' | sort | while read -r target; do
    echo "fuzz $pkg $target $time"
    go test "$pkg" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -parallel 2 </dev/null
  done
done
