package qemu

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

// SabreliteLoader is the file that [StartSabrelite] runs. Debian's package
// u-boot-imx has it, for armhf only; scripts/peers.sh fetches it into the folder
// of peers, and a machine may have the package installed.
func SabreliteLoader() string {
	return foreign("u-boot-imx", "/usr/lib/u-boot/mx6qsabrelite/u-boot-dtb.imx")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// SPISize is the size of the board's SPI NOR flash, an sst25vf016b.
const SPISize = 2 << 20

// sabreliteText is CONFIG_TEXT_BASE of U-Boot's mx6qsabrelite_defconfig.
const sabreliteText = 0x17800000

// StartSabrelite starts the real U-Boot of an i.MX6 board, given as its .imx
// file, with a copy of the file at flash in the board's SPI NOR: the way of
// sf probe and sf read, which most cameras' flash is read by.
func StartSabrelite(ctx context.Context, loader, flash string) (*Machine, error) {
	return start(ctx, "qemu-system-arm", flash, SPISize, func(dir, bank string) ([]string, error) {
		payload := filepath.Join(dir, "u-boot-dtb.bin")
		if err := unwrapIMX(loader, payload); err != nil {
			return nil, err
		}
		// The console is the board's second port, and U-Boot wants the whole
		// gigabyte that the board has.
		return []string{"-M", "sabrelite", "-m", "1G",
			"-device", fmt.Sprintf("loader,file=%s,addr=%#x,cpu-num=0,force-raw=on", payload, sabreliteText),
			"-drive", "if=mtd,format=raw,file=" + bank, "-serial", "null", "-serial", "pty"}, nil
	})
}

// unwrapIMX takes the loader out of its container. The image vector table (i.MX
// 6Dual/6Quad reference manual, chapter System Boot) gives the addresses of the
// entry point and of itself.
func unwrapIMX(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("%w: fetch it with scripts/peers.sh", err)
	}
	if len(b) < 32 || b[0] != 0xd1 {
		return fmt.Errorf("%s is not an i.MX image", from)
	}
	entry, self := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[20:])
	if entry < self || int64(entry-self) >= int64(len(b)) {
		return fmt.Errorf("%s: entry %#x is not inside", from, entry)
	}
	return os.WriteFile(to, b[entry-self:], 0o644)
}
