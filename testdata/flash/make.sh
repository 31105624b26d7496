#!/bin/sh
# Builds a flash image as a camera has it, from Debian's own boot loaders, kernels
# and programs, and writes down what is truly in it.
#
#   testdata/flash/make.sh nor8|nor16|nor32|nand128 OUT
#
# makes OUT.bin and OUT.tsv: a line for each region, in the order of the image,
# with offset, size (both decimal), format and state. Nothing in the image is a
# camera maker's. The same programs give the same bytes.
#
# Needs the Debian packages u-boot-qemu, u-boot-tools, device-tree-compiler,
# squashfs-tools, mtd-utils, and the files that scripts/peers.sh unpacks.
set -eu
[ $# -eq 2 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; }
kind=$1 out=$2
peers=${ASSAY_PEERS:-$HOME/.cache/assay-peers}
for f in "$peers/armhf/kernel" "$peers/armel/kernel" "$peers/mipsel/kernel" /usr/lib/u-boot/qemu_arm/u-boot.bin; do
	[ -r "$f" ] || { echo "make.sh: no $f: run scripts/peers.sh" >&2; exit 3; }
done
export SOURCE_DATE_EPOCH=1767225600
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# blank BYTES: an erased flash.
blank() {
	head -c "$1" /dev/zero | tr '\0' '\377' >"$out.bin"
	total=$1 pos=0
	: >"$out.tsv"
}

line() { printf '%d\t%d\t%s\t%s\n' "$1" "$2" "$3" "$4" >>"$out.tsv"; }

# gap OFFSET: what was left out before it is erased.
gap() { [ "$pos" -ge "$1" ] || line "$pos" $(($1 - pos)) erased erased; }

# put FILE OFFSET FORMAT STATE
put() {
	n=$(wc -c <"$1")
	gap "$2"
	dd if="$1" of="$out.bin" bs=4096 seek=$(($2 / 4096)) conv=notrunc status=none
	line "$2" "$n" "$3" "$4"
	pos=$(($2 + n))
}

# stale BYTES SEED: what an earlier, longer content left behind the last
# region, up to the end of its erase block at most.
stale() {
	noise "$1" "$2" >"$tmp/stale"
	dd if="$tmp/stale" of="$out.bin" bs=1 seek="$pos" conv=notrunc status=none
	line "$pos" "$1" residue residue
	pos=$((pos + $1))
}

# noise BYTES SEED: neither erased nor text, and the same each time.
noise() {
	openssl enc -aes-128-ctr -nosalt -pass "pass:$2" -pbkdf2 -iter 1 -in /dev/zero 2>/dev/null | head -c "$1"
}

done_() {
	gap "$total"
	[ "$(wc -c <"$out.bin")" = "$total" ] || { echo "make.sh: $out.bin is not of $total bytes" >&2; exit 1; }
}

# env TEXT BYTES [-r]: a U-Boot environment.
env_() {
	printf '%b' "$1" >"$tmp/env.txt"
	mkenvimage ${3:-} -s "$2" -p 0x00 -o "$tmp/env" "$tmp/env.txt"
}

# root ARCH [EXTRA...]: BusyBox with its usual applets, and more files.
root() {
	arch=$1
	shift
	r=$tmp/root
	mkdir -p "$r/bin" "$r/sbin" "$r/etc/init.d" "$r/usr/bin" "$r/usr/sbin" "$r/lib" "$r/dev" "$r/proc" "$r/tmp" "$r/home/www"
	cp "$peers/$arch/bin/busybox" "$r/bin/busybox"
	for a in sh ls cat dd mount umount cp mv grep ps kill mknod sed gzip; do ln -s busybox "$r/bin/$a"; done
	for a in init ifconfig telnetd insmod; do ln -s ../bin/busybox "$r/sbin/$a"; done
	printf 'root:x:0:0:root:/root:/bin/sh\n' >"$r/etc/passwd"
	printf '::sysinit:/etc/init.d/rcS\n::respawn:/sbin/getty -L ttyS0 115200\n' >"$r/etc/inittab"
	printf '#!/bin/sh\nmount -t proc none /proc\n' >"$r/etc/init.d/rcS"
	chmod 755 "$r/etc/init.d/rcS"
	printf '<html><title>camera</title></html>\n' >"$r/home/www/index.html"
	for f in "$@"; do cp -a "$f" "$r/lib/"; done
	find "$r" -exec touch -h -d @$SOURCE_DATE_EPOCH {} +
}

# jffs2 ERASEBLOCK: a data partition with some settings.
jffs2() {
	d=$tmp/data
	mkdir -p "$d/config"
	i=0
	while [ $i -lt 40 ]; do
		printf 'key%d=value %d of the settings of this camera\n' $i $i >"$d/config/file$i"
		i=$((i + 1))
	done
	noise 20000 9 >"$d/config/blob"
	find "$d" -exec touch -h -d @$SOURCE_DATE_EPOCH {} +
	mkfs.jffs2 -l -q -p -e "$1" -r "$d" -o "$tmp/jffs2" -n
}

modules() { # ARCH GLOB
	find "$peers/$1/lib/modules" -path "$2" -name '*.ko' | sort
}

bootargs='console=ttyS0,115200 root=/dev/mtdblock3 rootfstype=squashfs'
case $kind in
nor8)
	blank 8388608
	put /usr/lib/u-boot/qemu_arm/u-boot.bin 0 u-boot parsed
	env_ "bootdelay=1\nbaudrate=115200\nbootargs=$bootargs mtdparts=spi0.0:1m(uboot),64k(env),3008k(kernel),2m(rootfs),-(data)\nbootcmd=sf read 0x42000000 0x110000 0x2f0000; bootm 0x42000000\nethaddr=00:00:5E:00:53:08\n" 65536
	put "$tmp/env" 1048576 u-boot-env proven
	mkimage -A arm -O linux -T kernel -C none -a 0x8000 -e 0x8000 -n Linux-6.1 -d "$peers/armel/kernel" "$tmp/uImage" >/dev/null
	put "$tmp/uImage" 1114112 uimage proven
	stale 20000 1
	root armel
	mksquashfs "$tmp/root" "$tmp/squashfs" -comp xz -all-root -no-progress -noappend -quiet >/dev/null
	truncate -s %4096 "$tmp/squashfs"
	put "$tmp/squashfs" 4194304 squashfs proven
	jffs2 65536
	put "$tmp/jffs2" 6291456 jffs2 proven
	done_
	;;
nor16)
	blank 16777216
	put /usr/lib/u-boot/maltael/u-boot.bin 0 u-boot parsed
	env_ "bootdelay=1\nbootargs=$bootargs mtdparts=flash:512k(uboot),64k(env),6m(kernel),8m(rootfs),-(data)\nbootcmd=bootm 0x90000\n" 65536
	put "$tmp/env" 524288 u-boot-env proven
	mkimage -A mips -O linux -T kernel -C none -a 0x80100000 -e 0x80100400 -n Linux-6.1 -d "$peers/mipsel/kernel" "$tmp/uImage" >/dev/null
	put "$tmp/uImage" 589824 uimage proven
	# shellcheck disable=SC2046
	root mipsel $(modules mipsel '*/net/wireless/*') $(modules mipsel '*/fs/nfs/*')
	mksquashfs "$tmp/root" "$tmp/squashfs" -comp gzip -b 65536 -all-root -no-progress -noappend -quiet >/dev/null
	put "$tmp/squashfs" 6881280 squashfs proven
	jffs2 65536
	put "$tmp/jffs2" 15269888 jffs2 proven
	done_
	;;
nor32)
	blank 33554432
	put /usr/lib/u-boot/qemu_arm64/u-boot.bin 0 u-boot parsed
	env_ "bootdelay=1\nbootargs=$bootargs mtdparts=spi0.0:1m(uboot),64k(env),64k(env2),8m(kernel),12m(rootfs),4m(app),-(data)\nbootcmd=bootm 0x120000\nserial#=ASSAY-TEST-32\n" 65536 -r
	put "$tmp/env" 1048576 u-boot-env proven
	put "$tmp/env" 1114112 u-boot-env proven
	cp "$peers/armhf/kernel" "$tmp/kernel"
	printf '/dts-v1/;\n/ { model = "Assay test camera"; compatible = "assay,camera", "arm,test"; chosen { bootargs = "console=ttyS0"; }; };\n' | dtc -q -O dtb -o "$tmp/camera.dtb"
	cat >"$tmp/camera.its" <<-ITS
		/dts-v1/;
		/ { description = "camera"; #address-cells = <1>;
		  images {
		    kernel-1 { data = /incbin/("kernel"); type = "kernel"; arch = "arm"; os = "linux"; compression = "none"; load = <0x42000000>; entry = <0x42000000>; hash-1 { algo = "sha256"; }; };
		    fdt-1 { data = /incbin/("camera.dtb"); type = "flat_dt"; arch = "arm"; compression = "none"; hash-1 { algo = "sha256"; }; };
		  };
		  configurations { default = "conf-1"; conf-1 { kernel = "kernel-1"; fdt = "fdt-1"; }; };
		};
	ITS
	(cd "$tmp" && mkimage -q -f camera.its camera.itb >/dev/null)
	put "$tmp/camera.itb" 1179648 fit proven
	stale 31000 2
	# shellcheck disable=SC2046
	root armhf $(modules armhf '*/media/usb/*') "$peers/armhf/lib/arm-linux-gnueabihf"
	mksquashfs "$tmp/root" "$tmp/squashfs" -comp xz -Xbcj arm -b 131072 -all-root -no-progress -noappend -quiet >/dev/null
	put "$tmp/squashfs" 9568256 squashfs proven
	mkdir "$tmp/app"
	cp "$peers/armhf/bin/busybox" "$tmp/app/ipcam"
	mkfs.cramfs -N little "$tmp/app" "$tmp/cramfs" >/dev/null
	put "$tmp/cramfs" 22151168 cramfs proven
	noise 700000 3 >"$tmp/secret"
	put "$tmp/secret" 26345472 opaque opaque
	jffs2 65536
	put "$tmp/jffs2" 28442624 jffs2 proven
	done_
	;;
nand128)
	blank 134217728
	put /usr/lib/u-boot/qemu_arm/u-boot.bin 0 u-boot parsed
	put /usr/lib/u-boot/qemu_arm/u-boot.bin 2097152 u-boot parsed
	env_ "bootdelay=1\nbootargs=console=ttyS0 ubi.mtd=ubi root=ubi0:rootfs mtdparts=nand0:2m(uboot),2m(uboot2),256k(env),256k(env2),-(ubi)\nbootcmd=ubi part ubi; ubi read 0x42000000 kernel; bootm\n" 131072 -r
	put "$tmp/env" 4194304 u-boot-env proven
	put "$tmp/env" 4456448 u-boot-env proven
	mkimage -A arm -O linux -T kernel -C none -a 0x8000 -e 0x8000 -n Linux-6.1 -d "$peers/armhf/kernel" "$tmp/uImage" >/dev/null
	# shellcheck disable=SC2046
	root armhf $(modules armhf '*/drivers/media/*') $(modules armhf '*/sound/*') "$peers/armhf/lib/arm-linux-gnueabihf"
	mksquashfs "$tmp/root" "$tmp/squashfs" -comp xz -b 262144 -all-root -no-progress -noappend -quiet >/dev/null
	mkdir "$tmp/app"
	# shellcheck disable=SC2046
	cp -a "$peers/armhf/usr/share/perl" "$peers/armhf/usr/share/zoneinfo" $(modules armhf '*/net/*') "$tmp/app/"
	find "$tmp/app" -exec touch -h -d @$SOURCE_DATE_EPOCH {} +
	mkfs.ubifs -m 2048 -e 126976 -c 600 -x lzo -r "$tmp/app" -o "$tmp/ubifs"
	cat >"$tmp/ubi.cfg" <<-CFG
		[kernel]
		mode=ubi
		image=$tmp/uImage
		vol_id=0
		vol_type=static
		vol_name=kernel
		[rootfs]
		mode=ubi
		image=$tmp/squashfs
		vol_id=1
		vol_type=dynamic
		vol_name=rootfs
		[data]
		mode=ubi
		image=$tmp/ubifs
		vol_id=2
		vol_type=dynamic
		vol_size=80MiB
		vol_name=data
	CFG
	ubinize -m 2048 -p 131072 -Q 7 -o "$tmp/ubi" "$tmp/ubi.cfg"
	# Blocks as wear-levelling leaves them: out of order, with a bad one (all
	# zeros) between. The first two hold the volume table wherever they are.
	n=$(($(wc -c <"$tmp/ubi") / 131072))
	i=0
	while [ $i -lt $n ]; do
		at=$(((i * 7 + 3) % n))
		[ $((n % 7)) -ne 0 ] || at=$(((i * 11 + 3) % n))
		[ $at -lt 20 ] || at=$((at + 1)) # block 20 is bad
		dd if="$tmp/ubi" of="$tmp/shuffled" bs=131072 skip=$i seek=$at count=1 conv=notrunc status=none
		i=$((i + 1))
	done
	put "$tmp/shuffled" 4718592 ubi proven
	done_
	;;
*)
	echo "make.sh: $kind is none of nor8, nor16, nor32, nand128" >&2
	exit 2
	;;
esac
