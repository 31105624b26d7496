#!/bin/sh
# Builds the program for every system that it must run on, without C.
set -eu
cd "$(dirname "$0")/.."
for os in linux windows darwin; do
  for arch in amd64 arm64; do
    echo "build $os/$arch"
    CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -ldflags '-s -w' -o "build/assay-$os-$arch" ./cmd/assay
  done
done
