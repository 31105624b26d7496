// Package qemu starts Debian's own U-Boot under QEMU: a unit on a serial console
// whose boot loader is real. It needs the Debian packages qemu-system-arm and
// u-boot-qemu. The machine is QEMU's "virt", whose second flash device is mapped
// at 0x04000000 and must be exactly 64 MiB (QEMU hw/arm/virt.c); of those,
// U-Boot's CFI driver shows the first 32 MiB.
package qemu

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// FlashSize is the size of the flash device, BankSize what U-Boot shows of it.
const (
	FlashSize = 64 << 20
	BankSize  = 32 << 20
)

// Machine is a running U-Boot.
type Machine struct {
	Device string // the console's pseudo-terminal

	cmd *exec.Cmd
	dir string
}

// Programs returns the program and the boot loader that arch needs, and the
// Debian packages that hold them.
func Programs(arch string) (program, loader string, err error) {
	switch arch {
	case "arm64":
		return "qemu-system-aarch64", "/usr/lib/u-boot/qemu_arm64/u-boot.bin", nil
	case "arm":
		return "qemu-system-arm", "/usr/lib/u-boot/qemu_arm/u-boot.bin", nil
	}
	return "", "", fmt.Errorf("qemu: %q is neither arm nor arm64", arch)
}

var ptyLine = regexp.MustCompile(`char device redirected to (\S+)`)

// StartUBoot starts U-Boot for arch, "arm" or "arm64", with a copy of the file
// at flash in its flash. It stops when the context ends or by [Machine.Stop].
// dtb, which may be empty, replaces the machine's device tree.
func StartUBoot(ctx context.Context, arch, flash, dtb string) (*Machine, error) {
	program, loader, err := Programs(arch)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(loader); err != nil {
		return nil, fmt.Errorf("qemu: %w: install Debian package u-boot-qemu", err)
	}
	if program, err = exec.LookPath(program); err != nil {
		return nil, fmt.Errorf("qemu: %w: install Debian package qemu-system-arm", err)
	}
	dir, err := os.MkdirTemp("", "uboot")
	if err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	m := &Machine{dir: dir}
	if err := m.start(ctx, program, arch, loader, flash, dtb); err != nil {
		m.Stop()
		return nil, err
	}
	return m, nil
}

func (m *Machine) start(ctx context.Context, program, arch, loader, flash, dtb string) error {
	bank := filepath.Join(m.dir, "flash.img")
	if err := pad(flash, bank); err != nil {
		return fmt.Errorf("qemu: flash: %w", err)
	}
	args := []string{"-M", "virt", "-cpu", map[string]string{"arm": "cortex-a15", "arm64": "cortex-a57"}[arch], "-m", "256",
		"-bios", loader, "-drive", "if=pflash,format=raw,index=1,file=" + bank,
		"-nic", "none", "-display", "none", "-monitor", "none", "-serial", "pty"}
	if dtb != "" {
		args = append(args, "-dtb", dtb)
	}
	m.cmd = exec.CommandContext(ctx, program, args...)
	m.cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	m.cmd.Stderr = &stderr
	stdout, err := m.cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("qemu: %w", err)
	}
	if err := m.cmd.Start(); err != nil {
		return fmt.Errorf("qemu: %w", err)
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if found := ptyLine.FindStringSubmatch(lines.Text()); found != nil {
			m.Device = found[1]
			go io.Copy(io.Discard, stdout) // ends with the machine
			return nil
		}
	}
	m.cmd.Wait()
	m.cmd = nil
	return fmt.Errorf("qemu: %s named no pseudo-terminal: %s", program, bytes.TrimSpace(stderr.Bytes()))
}

// pad copies a flash image and fills it up as erased flash.
func pad(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if len(b) > FlashSize {
		return fmt.Errorf("%s holds %d bytes, the flash only %d", from, len(b), FlashSize)
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	for left := FlashSize - len(b); left > 0; {
		n, err := f.Write(bytes.Repeat([]byte{0xff}, min(left, 1<<20)))
		if err != nil {
			return err
		}
		left -= n
	}
	return f.Close()
}

// Stop ends the machine and removes its files.
func (m *Machine) Stop() {
	if m.cmd != nil && m.cmd.Process != nil {
		m.cmd.Process.Kill()
		m.cmd.Wait()
	}
	os.RemoveAll(m.dir)
}
