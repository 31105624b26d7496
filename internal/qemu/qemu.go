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
	return start(ctx, program, flash, FlashSize, func(_, bank string) ([]string, error) {
		args := []string{"-M", "virt", "-cpu", map[string]string{"arm": "cortex-a15", "arm64": "cortex-a57"}[arch], "-m", "256",
			"-bios", loader, "-drive", "if=pflash,format=raw,index=1,file=" + bank, "-serial", "pty"}
		if dtb != "" {
			args = append(args, "-dtb", dtb)
		}
		return args, nil
	})
}

// start runs program with the arguments that machine makes, given a directory of
// its own and a copy of flash padded to size.
func start(ctx context.Context, program, flash string, size int, machine func(dir, bank string) ([]string, error)) (*Machine, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("qemu: %w: install Debian package qemu-system-arm or qemu-system-mips", err)
	}
	dir, err := os.MkdirTemp("", "uboot")
	if err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	m := &Machine{dir: dir}
	bank := filepath.Join(dir, "flash.img")
	if err := pad(flash, bank, size); err != nil {
		m.Stop()
		return nil, fmt.Errorf("qemu: flash: %w", err)
	}
	args, err := machine(dir, bank)
	if err == nil {
		err = m.run(ctx, path, append(args, "-nic", "none", "-display", "none", "-monitor", "none"))
	}
	if err != nil {
		m.Stop()
		return nil, fmt.Errorf("qemu: %w", err)
	}
	return m, nil
}

// run starts the machine and waits for the name of its console.
func (m *Machine) run(ctx context.Context, program string, args []string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if found := ptyLine.FindStringSubmatch(lines.Text()); found != nil {
			m.cmd, m.Device = cmd, found[1]
			go io.Copy(io.Discard, stdout) // ends with the machine
			return nil
		}
	}
	cmd.Wait()
	return fmt.Errorf("%s named no pseudo-terminal: %s", program, bytes.TrimSpace(stderr.Bytes()))
}

// pad copies a flash image and fills it up as erased flash.
func pad(from, to string, size int) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if len(b) > size {
		return fmt.Errorf("%s holds %d bytes, the flash only %d", from, len(b), size)
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	for left := size - len(b); left > 0; {
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
