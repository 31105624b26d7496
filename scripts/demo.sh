#!/bin/sh
# The demonstration: three simulated cameras that speak real protocols on
# loopback and, where QEMU is installed, a real U-Boot with a flash on a serial
# line. Each is certified from the wire to a signed permit, and each permit is
# checked again. Ends with an error when a verdict is not the expected one.
set -eu
cd "$(dirname "$0")/.."
assay=$PWD/bin/assay
tmp=$(mktemp -d)
pids=
trap 'for p in $pids; do kill "$p" 2>/dev/null || true; done; rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

export ASSAY_HOME=$tmp/home ASSAY_PASSPHRASE=demonstration
fixtures=$PWD/testdata/demo

title() { printf '\n\n######## %s\n' "$1"; }
show() { printf '\n$ assay'; printf ' %s' "$@"; printf '\n'; }
fail() { echo "demo: $1" >&2; exit 1; }

# run EXPECTED-EXIT-CODE ARGUMENTS...
run() {
  want=$1
  shift
  show "$@"
  code=0
  "$assay" "$@" || code=$?
  [ "$code" = "$want" ] || fail "exit code $code, expected $want: assay $*"
}

title "The station: a key of its own, and two keys of a vendor that it trusts"
mkdir -p "$ASSAY_HOME/data"
cp "$fixtures/fjordlens.yaml" "$ASSAY_HOME/data/"
cd "$tmp"
cp "$fixtures"/*.pem "$fixtures"/*.json .
gunzip -c "$fixtures/vendor-signed.bin.gz" >vendor-signed.bin
gunzip -c "$fixtures/relabelled.bin.gz" >relabelled.bin
run 0 key init
run 0 trust add --maker fjordlens --purpose firmware fjordlens-boot.pem
run 0 trust add --maker fjordlens --purpose firmware fjordlens-release.pem

console=
[ "$(uname -s)" = Linux ] || [ "$(uname -s)" = Darwin ] && console=console:vendor-signed
"$assay" simulate vendor-signed relabelled onvif-plain $console --flash vendor-signed.bin >units &
pids="$pids $!"
for _ in 1 2 3 4 5 6 7 8 9 10; do
  sleep 0.3
  [ "$(wc -l <units)" -ge 4 ] && break
done
target() { awk -v n="$1" '$1 == n { print $2 }' units; }
serial=$(target console:vendor-signed)
[ -n "$serial" ] || fail "the simulated cameras did not start"

# Reading a megabyte through a boot loader takes a while, so the real one goes
# first and is shown last.
real=
if command -v qemu-system-aarch64 >/dev/null && [ -r /usr/lib/u-boot/qemu_arm64/u-boot.bin ]; then
  sh "$fixtures/../../scripts/qemu-uboot.sh" arm64 vendor-signed.bin >qemu 2>&1 &
  pids="$pids $!"
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    sleep 0.3
    grep -q /dev/pts qemu && break
  done
  port=$(grep -o '/dev/pts/[0-9]*' qemu) || fail "QEMU did not start: $(cat qemu)"
  (code=0; "$assay" certify "serial:$port" --out unit-4 >unit-4.txt 2>&1 || code=$?; echo "$code" >unit-4.code) &
  real=$!
fi

title "Unit 1 says Northgate Security on its label; its flash was read with a clip"
echo demo-relabelled >password
run 3 certify "$(target relabelled)" 'file:relabelled.bin?acquired=A4' --label 'maker=Northgate Security' \
  --user admin --password-file password --out unit-1

title "Unit 2 is signed by its vendor from the boot loader on; network and serial console"
echo demo-fjordlens >password
run 0 certify "$(target vendor-signed)" "$serial" --endorsement fjordlens-4.2.1.dsse.json \
  --user service --password-file password --out unit-2

title "Unit 3 is clean as far as it says, and says little"
run 4 certify "$(target onvif-plain)" --out unit-3

units="1:3 2:0 3:4"
if [ -n "$real" ]; then
  title "Unit 4 is a real U-Boot on a serial line (QEMU), with the vendor's flash"
  wait "$real"
  show certify "serial:$port" --out unit-4
  cat unit-4.txt
  [ "$(cat unit-4.code)" = 4 ] || fail "exit code $(cat unit-4.code), expected 4: assay certify serial:$port"
  units="$units 4:4"
else
  title "Unit 4, a real U-Boot under QEMU, is left out: install Debian packages qemu-system-arm u-boot-qemu"
fi

title "Anybody checks the permits, offline, with nothing but the station's public key"
mkdir elsewhere
for u in $units; do
  cp "unit-${u%%:*}/permit.sigstore.json" "elsewhere/permit-${u%%:*}.json"
done
cp "$ASSAY_HOME/keys/station.pub" elsewhere/
cd elsewhere
export ASSAY_HOME=$tmp/nobody
run 0 check permit-2.json --key station.pub
for u in $units; do
  n=${u%%:*}
  [ "$n" = 2 ] && continue
  code=0
  "$assay" check "permit-$n.json" --key station.pub >/dev/null || code=$?
  [ "$code" = "${u##*:}" ] || fail "check of unit $n: exit code $code, expected ${u##*:}"
  echo "permit-$n.json holds, and its verdict is $("$assay" check --json "permit-$n.json" --key station.pub | sed -n 's/.*"verdict": "\(.*\)",.*/\1/p' | head -n 1)"
done
sed 's/"payload":"./"payload":"f/' permit-2.json >forged.json
run 6 check forged.json --key station.pub

export ASSAY_HOME=$tmp/home
title "The register has them all"
run 0 register ls
