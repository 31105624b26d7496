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
[ "${1:-all}" = demo ] || packages="$packages u-boot-tools device-tree-compiler squashfs-tools cpio bzip2 gzip xz-utils lzma lzop lz4 zstd openssl lighttpd mtd-utils fdisk genromfs rauc mender-artifact"

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

# What is compared with but made for other processors is fetched with package
# lists of its own, so that this machine need not take on a foreign architecture:
# the loader of an emulated i.MX6 board, and a kernel (without its modules),
# BusyBox and the C library for armhf and mipsel, of which the tests assemble
# flashes.
peers=${ASSAY_PEERS:-$HOME/.cache/assay-peers}

# foreign ARCH sets up apt for that architecture in $tmp; "$apt" holds its options.
foreign() {
	mkdir -p "$tmp/$1/lists/partial" "$tmp/$1/cache/archives/partial"
	: >"$tmp/$1/status"
	apt="-q -o APT::Architecture=$1 -o APT::Architectures=$1 -o Dir::State::Lists=$tmp/$1/lists -o Dir::Cache=$tmp/$1/cache -o Dir::State::status=$tmp/$1/status -o APT::Sandbox::User=root"
	# shellcheck disable=SC2086
	apt-get $apt update || true
}

# unpack PACKAGE DIR [MEMBER...] downloads a package and unpacks it, or the given
# parts of it.
unpack() {
	package=$1 into=$2
	shift 2
	mkdir -p "$into"
	# shellcheck disable=SC2086
	(cd "$tmp" && apt-get $apt download "$package" && dpkg-deb --fsys-tarfile "$package"_*.deb | tar -x -C "$into" --wildcards "$@" && rm "$package"_*.deb) ||
		echo "peers: $package could not be fetched" >&2
}

# fetched ARCH says whether the parts of flashes for it are there.
fetched() { [ -n "$(find "$peers/flash-$1/boot" -name 'vmlinu*' 2>/dev/null)" ] && [ -x "$peers/flash-$1/bin/busybox" ] && [ -d "$peers/flash-$1/lib" ]; }

if command -v apt-get >/dev/null; then
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	if [ ! -r "$peers/u-boot-imx/usr/lib/u-boot/mx6qsabrelite/u-boot-dtb.imx" ]; then
		foreign armhf
		unpack u-boot-imx "$peers/u-boot-imx"
	fi
	for pair in armhf:armmp mipsel:4kc-malta; do
		arch=${pair%:*}
		fetched "$arch" && continue
		foreign "$arch"
		# shellcheck disable=SC2086
		kernel=$(apt-cache $apt depends "linux-image-${pair#*:}" | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
		[ -z "$kernel" ] || unpack "$kernel" "$peers/flash-$arch" './boot/vmlinu*' './boot/config-*'
		unpack busybox "$peers/flash-$arch" ./bin/busybox
		unpack libc6 "$peers/flash-$arch" './lib/*'
	done
fi

# cosign is a Go module and is built once.
if [ "${CI:-}" = true ]; then sh "$here/cosign.sh" >/dev/null; fi
