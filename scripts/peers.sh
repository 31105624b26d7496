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
[ "${1:-all}" = demo ] || packages="$packages qemu-system-mips u-boot-tools device-tree-compiler squashfs-tools cpio bzip2 gzip xz-utils lzma lzop lz4 zstd openssl lighttpd mtd-utils fdisk genromfs e2fsprogs erofs-utils gcc libc6-dev rauc mender-artifact zip unzip p7zip-full libarchive-tools lzip dosfstools mtools android-sdk-libsparse-utils mkbootimg srecord binutils openssh-client f2fs-tools exfatprogs ser2net uhubctl gpiod swtpm busybox flashrom tftp-hpa avahi-daemon minidlna wsdd iproute2 util-linux snmpd gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good openssh-server dropbear-bin vsftpd inetutils-telnetd nmap"

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

# Programs of other architectures: the loaders of emulated boards, and
# kernels and root file systems that flash images are made of. Each is fetched with
# package lists of its own, so that this machine need not take on a foreign
# architecture, and only unpacked: $peers/NAME/ has the packages' files. A package
# named with "->" stands for the one of that pattern that it depends on.
peers=${ASSAY_PEERS:-$HOME/.cache/assay-peers}

foreign() { # ARCH NAME FILE PACKAGE...: FILE is there when all is
	arch=$1 name=$2 file=$3
	shift 3
	# shellcheck disable=SC2086
	set -- "$@"
	[ -e "$peers/$name/$file" ] && return
	command -v apt-get >/dev/null || return 0
	apt="-q -o APT::Architecture=$arch -o APT::Architectures=$arch -o Dir::State::Lists=$tmp/$arch -o Dir::Cache=$tmp/cache-$arch -o Dir::State::status=$tmp/status -o APT::Sandbox::User=root"
	mkdir -p "$peers/$name" "$tmp/$arch/partial" "$tmp/cache-$arch/archives/partial" "$tmp/debs-$name"
	# shellcheck disable=SC2086
	[ -n "$(ls "$tmp/$arch" | grep Packages)" ] || apt-get $apt update || true
	for p in "$@"; do
		case $p in
		*'->'*) # shellcheck disable=SC2086
			p=$(apt-cache $apt depends "${p%%->*}" | sed -n "s/.*Depends: \(${p##*->}.*\)/\1/p" | head -n 1) ;;
		esac
		# shellcheck disable=SC2086
		(cd "$tmp/debs-$name" && apt-get $apt download "$p") || { echo "peers: $p ($arch) could not be fetched" >&2; return 0; }
	done
	for deb in "$tmp/debs-$name"/*.deb; do dpkg-deb -x "$deb" "$peers/$name"; done
	rm -rf "$tmp/debs-$name"
	[ -e "$peers/$name/$file" ] || for f in "$peers/$name/"boot/vmlinu*; do ln -sf "boot/${f##*/}" "$peers/$name/kernel"; done
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
: >"$tmp/status"
foreign armhf u-boot-imx usr/lib/u-boot/mx6qsabrelite/u-boot-dtb.imx u-boot-imx
foreign arm64 u-boot-rpi usr/lib/u-boot/rpi_3/u-boot.bin u-boot-rpi
foreign armhf armhf kernel 'linux-image-armmp->linux-image-6' busybox-static libc6 libcrypt1 perl-base perl-modules-5.36 dropbear-bin tzdata
foreign armel armel kernel 'linux-image-marvell->linux-image-6' busybox-static
foreign mipsel mipsel kernel 'linux-image-4kc-malta->linux-image-6' busybox-static

# cosign is a Go module and is built once.
if [ "${CI:-}" = true ]; then sh "$here/cosign.sh" >/dev/null; fi
