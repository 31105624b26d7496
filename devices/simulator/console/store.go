package console

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// nandCommand is U-Boot's nand (cmd/nand.c): a read passes over bad blocks.
func (c *Console) nandCommand(_ context.Context, words []string) (string, error) {
	line, f := strings.Join(words, " "), c.config.NAND
	switch {
	case line == "nand info":
		return line, c.print(fmt.Sprintf("\nDevice 0: nand0, sector size %d KiB\n  Page size       2048 b\n  OOB size          64 b\n  Erase size    %d b\n  size      0x%08x\n", f.Erase>>10, f.Erase, f.Size))
	case line == "nand bad":
		var b strings.Builder
		b.WriteString("\nDevice 0 bad blocks:\n")
		for _, n := range f.Bad {
			fmt.Fprintf(&b, "  %08x\n", n*f.Erase)
		}
		return line, c.print(b.String())
	case len(words) == 5 && words[1] == "read":
		at, size := int64(hex(words, 3, 0)), int64(hex(words, 4, 0))
		var out []byte
		for block := at / f.Erase; int64(len(out)) < size && block*f.Erase < f.Size; block++ {
			if slices.Contains(f.Bad, block) {
				if err := c.print(fmt.Sprintf("Skipping bad block 0x%08x\n", block*f.Erase)); err != nil {
					return "", err
				}
				continue
			}
			out = append(out, c.nand[max(at, block*f.Erase):(block+1)*f.Erase]...)
		}
		if int64(len(out)) < size {
			return line, c.print("Attempt to read outside the flash area\nNAND read: ERROR\n")
		}
		if err := c.memory.write(hex(words, 2, 0), out[:size]); err != nil {
			return "", errPower
		}
		return line, c.print(fmt.Sprintf("\nNAND read: device 0 offset 0x%x, size 0x%x\n %d bytes read: OK\n", at, size, size))
	}
	return line, c.print("nand - NAND sub-system\n\nUsage:\nnand info - show available NAND devices\n")
}

// mmcCommand is U-Boot's mmc (cmd/mmc.c), whose info rounds the capacity.
func (c *Console) mmcCommand(_ context.Context, words []string) (string, error) {
	const sector = 512
	line := strings.Join(words, " ")
	switch {
	case line == "mmc info":
		tenths := (len(c.mmc)*10 + 1<<19) >> 20
		return line, c.print(fmt.Sprintf("Device: FSL_SDHC\nManufacturer ID: 13\nOEM: 14e\nName: %s\nBus Speed: 52000000\nHigh Capacity: Yes\nCapacity: %d.%d MiB\nBus Width: 8-bit\n", c.config.MMC.Part, tenths/10, tenths%10))
	case len(words) == 5 && words[1] == "read":
		at, n := int(hex(words, 3, 0))*sector, int(hex(words, 4, 0))*sector
		said := fmt.Sprintf("\nMMC read: dev # 0, block # %d, count %d ... ", at/sector, n/sector)
		if at > len(c.mmc)-n {
			return line, c.print(said + "0 blocks read: ERROR\n")
		}
		if err := c.memory.write(hex(words, 2, 0), c.mmc[at:at+n]); err != nil {
			return "", errPower
		}
		return line, c.print(said + fmt.Sprintf("%d blocks read: OK\n", n/sector))
	}
	return line, c.print("mmc - MMC sub system\n\nUsage:\nmmc info - display info of the current MMC device\n")
}
