#!/bin/sh
# Installs the Debian packages that the tests and the demo compare against.
# Without root or apt it says what to install and leaves the machine alone:
# tests whose peer is missing are skipped.
set -eu
# u-boot-imx is a loader for an emulated board; it exists for armhf only and
# depends on nothing.
packages="qemu-system-arm u-boot-qemu u-boot-tools device-tree-compiler squashfs-tools openssl u-boot-imx:armhf"
missing=
for p in $packages; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || { echo "peers: all there"; exit 0; }
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "peers: not installed:$missing" >&2
	echo "peers: on Debian, as root: apt-get install --no-install-recommends$missing" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
dpkg --add-architecture armhf
apt-get update -q
# shellcheck disable=SC2086
apt-get install -q -y --no-install-recommends $missing
