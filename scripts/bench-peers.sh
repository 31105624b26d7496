#!/bin/sh
# Installs the programs that make bench-firmware measures beside us, from their
# languages' registries, into $ASSAY_PEERS: binwalk 3 by cargo, unblob by pip with
# the extractors that pip has. What cannot be installed is left out of the
# comparison, which says so. Prints the folders for PATH.
#
# Both call further programs to extract with. Those of Debian are installed; the
# SquashFS extractor that both want, sasquatch, is in no registry: put it into PATH
# yourself, or the comparison is in their favour (they then skip the root file
# system).
set -eu
peers=${ASSAY_PEERS:-$HOME/.cache/assay-peers}
mkdir -p "$peers"
if [ ! -x "$peers/binwalk/bin/binwalk" ] && command -v cargo >/dev/null; then
	cargo install --quiet binwalk --root "$peers/binwalk" >&2 || echo "bench-peers: binwalk could not be installed" >&2
fi
if [ ! -x "$peers/unblob/bin/unblob" ] && command -v python3 >/dev/null; then
	{ python3 -m venv "$peers/unblob" && "$peers/unblob/bin/pip" install -q unblob jefferson ubi_reader; } >&2 || echo "bench-peers: unblob could not be installed" >&2
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends p7zip-full lz4 lziprecover lzop unar zstd e2fsprogs >&2 || true
fi
printf '%s:%s\n' "$peers/binwalk/bin" "$peers/unblob/bin"
