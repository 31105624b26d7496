package qemu

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// MaltaLoader is the boot loader that [StartMalta] runs, of Debian's package
// u-boot-qemu.
const MaltaLoader = "/usr/lib/u-boot/maltael/u-boot.bin"

// Of the 4 MiB of flash that a Malta board has at MaltaFlash, the first has the
// loader; a firmware image begins at MaltaOffset.
const (
	MaltaFlash     = 0xbe000000
	MaltaFlashSize = 4 << 20
	MaltaOffset    = 1 << 20
)

// StartMalta starts the real U-Boot of a MIPS board, little-endian, with the
// file at flash behind the loader in its flash. Its prompt is "maltael # " and it
// boots nothing by itself. It needs the Debian package qemu-system-mips.
func StartMalta(ctx context.Context, flash string) (*Machine, error) {
	loader, err := os.ReadFile(MaltaLoader)
	if err != nil {
		return nil, fmt.Errorf("qemu: %w: install Debian package u-boot-qemu", err)
	}
	image, err := os.ReadFile(flash)
	if err != nil {
		return nil, err
	}
	if len(loader) > MaltaOffset || len(image) > MaltaFlashSize-MaltaOffset {
		return nil, fmt.Errorf("qemu: %s holds %d bytes, the flash only %d", flash, len(image), MaltaFlashSize-MaltaOffset)
	}
	whole := bytes.Repeat([]byte{0xff}, MaltaFlashSize)
	copy(whole, loader)
	copy(whole[MaltaOffset:], image)
	// The machine's flash is big-endian behind a little-endian processor (QEMU
	// hw/mips/malta.c), so each word is turned round.
	for i := 0; i < len(whole); i += 4 {
		whole[i], whole[i+1], whole[i+2], whole[i+3] = whole[i+3], whole[i+2], whole[i+1], whole[i]
	}
	swapped, err := os.CreateTemp("", "malta-*.img")
	if err != nil {
		return nil, err
	}
	defer os.Remove(swapped.Name())
	if _, err := swapped.Write(whole); err != nil {
		return nil, err
	}
	if err := swapped.Close(); err != nil {
		return nil, err
	}
	return start(ctx, "qemu-system-mipsel", swapped.Name(), MaltaFlashSize, func(_, bank string) ([]string, error) {
		return []string{"-M", "malta", "-m", "256", "-vga", "none", "-drive", "if=pflash,format=raw,file=" + bank, "-serial", "pty"}, nil
	})
}

// Flash is the file that holds a machine's flash, to see that it was not written.
func (m *Machine) Flash() string { return filepath.Join(m.dir, "flash.img") }
