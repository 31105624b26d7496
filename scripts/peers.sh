#!/bin/sh
# Installs the programs that we did not write and prove ourselves against.
#
#   scripts/peers.sh demo   what the demonstration can use: QEMU and U-Boot
#   scripts/peers.sh        what the tests compare with, too
#
# They are Debian packages and need root and apt. Where these are missing, this
# says what to install and leaves the machine alone: the demonstration leaves a
# unit out, and tests whose peer is missing are skipped. With CI=true a missing
# peer is a failure.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
packages="qemu-system-arm u-boot-qemu"
[ "${1:-all}" = demo ] || packages="$packages u-boot-tools device-tree-compiler squashfs-tools cpio bzip2 gzip xz-utils lzma lzop lz4 zstd openssl lighttpd mtd-utils fdisk genromfs gcc libc6-dev"

missing=
for p in $packages; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
if [ -n "$missing" ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -q || true # an index that is out of step does not matter if the packages are there
		# shellcheck disable=SC2086
		apt-get install -q -y --no-install-recommends $missing || { [ "${CI:-}" != true ] || exit 1; }
	else
		echo "peers: not installed:$missing" >&2
		echo "peers: on Debian, as root: apt-get install --no-install-recommends$missing" >&2
		[ "${CI:-}" != true ] || exit 1
	fi
fi
[ "${1:-all}" = demo ] && exit 0

# The loader of an emulated i.MX6 board, which Debian has for armhf only. It is
# fetched with package lists of its own, so that this machine need not take on a
# foreign architecture.
peers=${ASSAY_PEERS:-$HOME/.cache/assay-peers}
if [ ! -r "$peers/u-boot-imx/usr/lib/u-boot/mx6qsabrelite/u-boot-dtb.imx" ] && command -v apt-get >/dev/null; then
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial" "$peers/u-boot-imx"
	: >"$tmp/status"
	set -- -q -o APT::Architecture=armhf -o APT::Architectures=armhf -o Dir::State::Lists="$tmp/lists" \
		-o Dir::Cache="$tmp/cache" -o Dir::State::status="$tmp/status" -o APT::Sandbox::User=root
	(cd "$tmp" && { apt-get "$@" update || true; } && apt-get "$@" download u-boot-imx && dpkg-deb -x u-boot-imx_*.deb "$peers/u-boot-imx") ||
		echo "peers: u-boot-imx (armhf) could not be fetched" >&2
fi

# cosign is a Go module and is built once.
if [ "${CI:-}" = true ]; then sh "$here/cosign.sh" >/dev/null; fi
