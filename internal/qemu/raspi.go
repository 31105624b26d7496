package qemu

import (
	"context"
	"os"
	"path/filepath"
)

// RaspiLoader is the file that [StartRaspi] runs, of Debian's package u-boot-rpi
// for arm64; scripts/peers.sh fetches it into the folder of peers.
func RaspiLoader() string { return foreign("u-boot-rpi", "/usr/lib/u-boot/rpi_3/u-boot.bin") }

// CardSize is the size of the board's SD card; QEMU wants a power of two.
const CardSize = 4 << 20

// StartRaspi starts the real U-Boot of a Raspberry Pi 3 with a copy of the file at
// card as its SD card: the way of mmc info and mmc read, as boards with eMMC have
// it.
func StartRaspi(ctx context.Context, loader, card string) (*Machine, error) {
	return start(ctx, "qemu-system-aarch64", card, CardSize, func(_, bank string) ([]string, error) {
		return []string{"-M", "raspi3b", "-kernel", loader, "-drive", "if=sd,format=raw,file=" + bank, "-serial", "null", "-serial", "pty"}, nil
	})
}

// foreign is a file of a package that scripts/peers.sh has unpacked under name, or
// of the package as it is installed.
func foreign(name, inPackage string) string {
	peers := os.Getenv("ASSAY_PEERS")
	if peers == "" {
		home, _ := os.UserHomeDir()
		peers = filepath.Join(home, ".cache", "assay-peers")
	}
	if fetched := filepath.Join(peers, name, inPackage); exists(fetched) {
		return fetched
	}
	return inPackage
}
