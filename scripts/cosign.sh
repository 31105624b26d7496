#!/bin/sh
# Prints the path of the cosign that tests compare permits with. Builds it from
# its Go module on first use (several minutes) and keeps it.
set -eu

version=v3.1.3 # newest that builds with the Go in go.mod
bin=${ASSAY_PEERS:-$HOME/.cache/assay-peers}/bin

if [ ! -x "$bin/cosign" ]; then
	mkdir -p "$bin"
	GOBIN=$bin CGO_ENABLED=0 go install "github.com/sigstore/cosign/v3/cmd/cosign@$version" >&2
fi
echo "$bin/cosign"
