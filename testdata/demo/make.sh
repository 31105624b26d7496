#!/bin/sh
# Makes the flash images, vendor keys and endorsement of the demonstration.
#
# Two units: one of the fictional maker Fjordlens AS, whose boot loader is under a
# signed statement and whose kernel, device tree and root file system are in a
# signed FIT; and one sold as "Northgate Security" with another maker's boot loader
# and file system inside. The code in them is noise: nothing here boots. The
# private keys are made anew and thrown away.
#
# Needs the Debian packages u-boot-tools, device-tree-compiler, squashfs-tools and
# openssl, and python3 for the bytes.
set -eu
out=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
umask 022
export SOURCE_DATE_EPOCH=1767603164

# Noise that is the same each time: SHAKE-256 of a word.
noise() { python3 -c 'import hashlib,sys; sys.stdout.buffer.write(hashlib.shake_256(sys.argv[1].encode()).digest(int(sys.argv[2])))' "$1" "$2"; }

# A boot loader stands in for U-Boot: noise around the banner that names it.
loader() { # WORD SIZE BANNER PROMPT
  { noise "$1" 2048; printf '\0%s\0%s\0' "$3" "$4"; noise "$1-rest" "$2"; } >loader.bin
}

key() { # NAME
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out keys/"$1".key 2>/dev/null
  openssl req -batch -new -x509 -key keys/"$1".key -out keys/"$1".crt -subj "/O=Fjordlens AS/CN=$1" -days 36500 2>/dev/null
  openssl pkey -in keys/"$1".key -pubout -out "$out/$1.pem"
}

erased() { python3 -c 'import sys; sys.stdout.buffer.write(b"\xff" * int(sys.argv[1], 0))' "$1"; }
place() { # FLASH FILE OFFSET
  dd if="$2" of="$1" bs=4096 seek=$(($3 / 4096)) conv=notrunc status=none
}

mkdir keys
key fjordlens-boot

# --- the vendor-signed unit
loader fjordlens 160000 'U-Boot 2021.07-fjordlens-4.2.1 (Jan 05 2026 - 09:12:44 +0100)' 'fl-b2 # '
mkdir -p root/bin root/sbin root/etc root/dev
{ printf '\177ELF\1\1\1\0\0\0\0\0\0\0\0\0\2\0\50\0'; noise fjordlens-busybox 60000; printf 'BusyBox v1.36.1 (2026-01-05 09:10:00 CET)\n\0'; } >root/bin/busybox
chmod 755 root/bin/busybox
ln -s ../bin/busybox root/sbin/init
printf 'NAME="Fjordlens OS"\nVERSION_ID=4.2.1\n' >root/etc/os-release
mksquashfs root root.sqfs -comp xz -all-root -noappend -no-progress -all-time "$SOURCE_DATE_EPOCH" -mkfs-time "$SOURCE_DATE_EPOCH" >/dev/null 2>&1 ||
  env -u SOURCE_DATE_EPOCH mksquashfs root root.sqfs -comp xz -all-root -noappend -no-progress >/dev/null
{ noise fjordlens-kernel 4096; printf 'Linux version 6.1.0-fjordlens (build@fjordlens) (gcc 11.3.0) #1 SMP Mon Jan 5 2026\n\0'; noise fjordlens-kernel-rest 90000; } | gzip -9n >kernel.gz
printf '/dts-v1/; / { model = "Fjordlens FL-B2"; compatible = "fjordlens,fl-b2", "ambarella,s3l"; };' | dtc -I dts -O dtb -o board.dtb -q
cat >fit.its <<'ITS'
/dts-v1/;
/ {
  description = "Fjordlens OS 4.2.1 for FL-B2";
  #address-cells = <1>;
  images {
    kernel-1 { description = "Linux"; data = /incbin/("kernel.gz"); type = "kernel"; arch = "arm"; os = "linux"; compression = "gzip"; load = <0x80008000>; entry = <0x80008000>; hash-1 { algo = "sha256"; }; };
    fdt-1 { description = "FL-B2"; data = /incbin/("board.dtb"); type = "flat_dt"; arch = "arm"; compression = "none"; hash-1 { algo = "sha256"; }; };
    ramdisk-1 { description = "root"; data = /incbin/("root.sqfs"); type = "ramdisk"; arch = "arm"; os = "linux"; compression = "none"; hash-1 { algo = "sha256"; }; };
  };
  configurations {
    default = "conf-1";
    conf-1 { kernel = "kernel-1"; fdt = "fdt-1"; ramdisk = "ramdisk-1"; signature-1 { algo = "sha256,rsa2048"; key-name-hint = "fjordlens-boot"; sign-images = "kernel", "fdt", "ramdisk"; }; };
  };
};
ITS
mkimage -f fit.its -k keys -r fit.itb >/dev/null
printf 'bootcmd=bootm 0x04050000\nbootdelay=2\nethaddr=00:00:5E:00:53:17\n' >env.txt
mkenvimage -s 0x10000 -o env.bin env.txt
erased 0x200000 >flash.bin
place flash.bin loader.bin 0
place flash.bin env.bin 0x40000
place flash.bin fit.itb 0x50000
gzip -9nc flash.bin >"$out/vendor-signed.bin.gz"

# The release statement is what a vendor would publish: an in-toto statement in a
# DSSE envelope, signed with a key of its own.
openssl ecparam -name prime256v1 -genkey -noout -out keys/release.key
openssl pkey -in keys/release.key -pubout -out "$out/fjordlens-release.pem"
python3 - "$(stat -c %s loader.bin)" <<'PY' >payload.json
import hashlib, json, sys
b = open('loader.bin', 'rb').read()
print(json.dumps({
    '_type': 'https://in-toto.io/Statement/v1',
    'subject': [{'name': 'u-boot', 'digest': {'sha256': hashlib.sha256(b).hexdigest()},
                 'annotations': {'assay.offset': 0, 'assay.size': len(b)}}],
    'predicateType': 'https://assay.example/firmware-release/v1',
    'predicate': {'maker': 'Fjordlens AS', 'board': 'FL-B2', 'version': '4.2.1'}}), end='')
PY
type=application/vnd.in-toto+json
{ printf 'DSSEv1 %d %s %d ' ${#type} $type "$(stat -c %s payload.json)"; cat payload.json; } >pae
openssl dgst -sha256 -sign keys/release.key -out sig pae
printf '{"payloadType":"%s","payload":"%s","signatures":[{"sig":"%s"}]}\n' $type "$(base64 -w0 payload.json)" "$(base64 -w0 sig)" >"$out/fjordlens-4.2.1.dsse.json"

# --- the relabelled unit
loader northgate 120000 'U-Boot 2010.06-svn (Jan 12 2022 - 18:32:15)' 'HKVS # '
rm -rf root && mkdir -p root/bin root/sbin root/etc root/home/app
{ printf '\177ELF\1\1\1\0\0\0\0\0\0\0\0\0\2\0\50\0'; noise northgate-busybox 50000; printf 'BusyBox v1.26.2 (2022-01-12 18:20:00 CST)\n\0'; } >root/bin/busybox
{ printf '\177ELF\1\1\1\0\0\0\0\0\0\0\0\0\2\0\50\0'; noise northgate-app 40000; printf '\0HIKVISION@HANGZHOU\0'; noise northgate-app-2 9000; } >root/home/app/recorder
printf 'brand=Northgate Security\nmodel=NG-B4120\n' >root/etc/brand
mksquashfs root root.sqfs -comp xz -all-root -noappend -no-progress -all-time "$SOURCE_DATE_EPOCH" -mkfs-time "$SOURCE_DATE_EPOCH" >/dev/null 2>&1 ||
  env -u SOURCE_DATE_EPOCH mksquashfs root root.sqfs -comp xz -all-root -noappend -no-progress >/dev/null
{ noise northgate-kernel 4096; printf 'Linux version 3.18.20 (build@host) (gcc 4.8.3) #1 PREEMPT Wed Jan 12 2022\n\0'; noise northgate-kernel-rest 70000; } >kernel.bin
mkimage -A arm -O linux -T kernel -C none -a 0x80008000 -e 0x80008000 -n 'Linux-3.18.20' -d kernel.bin kernel.uimg >/dev/null
erased 0x100000 >flash.bin
place flash.bin loader.bin 0
place flash.bin kernel.uimg 0x40000
place flash.bin root.sqfs 0x80000
gzip -9nc flash.bin >"$out/relabelled.bin.gz"
ls -l "$out"
