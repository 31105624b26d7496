#!/bin/sh
# Installs depthcharge, which make bench-serial measures beside us, from its
# language's registry into $ASSAY_PEERS, and prints the folder for PATH.
set -eu
peers=${ASSAY_PEERS:-$HOME/.cache/assay-peers}
mkdir -p "$peers"
if [ ! -x "$peers/depthcharge/bin/depthcharge-read-mem" ] && command -v python3 >/dev/null; then
	{ python3 -m venv "$peers/depthcharge" && "$peers/depthcharge/bin/pip" install -q depthcharge; } >&2 || echo "bench-serial: depthcharge could not be installed" >&2
fi
printf '%s\n' "$peers/depthcharge/bin"
