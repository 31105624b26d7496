#!/bin/sh
# Starts Debian's own U-Boot with a firmware image in CFI flash, as a unit on a
# serial console that needs no hardware.
#
#   scripts/qemu-uboot.sh arm|arm64 FLASH [SERIAL [DTB]]
#
# FLASH becomes the flash at 0x04000000; a copy is padded to the 64 MiB that the
# machine wants, and the file itself is left alone. U-Boot's driver shows 32 MiB
# of it as bank 2. SERIAL is one of QEMU's -serial values; with "pty", the
# default, QEMU prints "char device redirected to /dev/pts/N". DTB replaces the
# machine's device tree. The machine runs until this script is ended.
#
# Needs the Debian packages qemu-system-arm and u-boot-qemu.
set -eu
[ $# -ge 2 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }
case $1 in
arm64) machine="qemu-system-aarch64 -cpu cortex-a57" bios=/usr/lib/u-boot/qemu_arm64/u-boot.bin ;;
arm) machine="qemu-system-arm -cpu cortex-a15" bios=/usr/lib/u-boot/qemu_arm/u-boot.bin ;;
*) echo "qemu-uboot.sh: $1 is neither arm nor arm64" >&2; exit 2 ;;
esac
flash=$2 serial=${3:-pty} dtb=${4:-}
[ -r "$bios" ] || { echo "qemu-uboot.sh: no $bios: install Debian package u-boot-qemu" >&2; exit 3; }
command -v "${machine%% *}" >/dev/null || { echo "qemu-uboot.sh: no ${machine%% *}: install Debian package qemu-system-arm" >&2; exit 3; }
size=$(wc -c <"$flash")
[ "$size" -le 67108864 ] || { echo "qemu-uboot.sh: $flash holds $size bytes, the flash only 67108864" >&2; exit 2; }

bank=$(mktemp)
trap 'rm -f "$bank"' EXIT
cat "$flash" >"$bank"
head -c $((67108864 - size)) /dev/zero | tr '\0' '\377' >>"$bank"

# shellcheck disable=SC2086
$machine -M virt -m 256 -bios "$bios" ${dtb:+-dtb "$dtb"} \
	-drive if=pflash,format=raw,index=1,file="$bank" \
	-nic none -display none -monitor none -serial "$serial" &
qemu=$!
trap 'kill $qemu 2>/dev/null; wait $qemu 2>/dev/null; rm -f "$bank"' EXIT
trap 'exit 143' INT TERM
wait $qemu
