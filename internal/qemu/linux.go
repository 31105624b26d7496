package qemu

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// What the Linux units of this package have in common.
const (
	LinuxUser     = "root"
	LinuxPassword = "camera123"

	// The hash of it for /etc/passwd: openssl passwd -1 -salt abcd1234.
	linuxHash = "$1$abcd1234$w208F1F4U3RaS7ZQt2W/q/"
)

// Peers is the folder into which scripts/peers.sh unpacks programs of other
// architectures.
func Peers() string {
	if peers := os.Getenv("ASSAY_PEERS"); peers != "" {
		return peers
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(home, ".cache", "assay-peers")
}

// LinuxKernel is a kernel that [StartLinuxSabrelite] or [StartLinuxMalta] runs,
// for arch "armhf" or "mipsel". scripts/peers.sh fetches it.
func LinuxKernel(arch string) string { return filepath.Join(Peers(), arch, "kernel") }

// applets are what the units' BusyBox is linked as. Its shell has all that is
// built into it besides, whatever is linked (CONFIG_FEATURE_SH_STANDALONE).
var applets = strings.Fields("ash awk cat dd df dmesg echo env grep gunzip gzip hostname insmod login ls lsmod mount ps sed sh sleep sync tail tar test umount wc zcat")

// StartLinuxSabrelite starts a real Linux of an i.MX6 board that is a camera by
// its device tree, with a copy of the file at flash in its SPI NOR of [SPISize]
// bytes: five MTD partitions and a JEDEC id. A login asks at its console. It needs the Debian packages qemu-system-arm and
// device-tree-compiler, and what scripts/peers.sh fetches.
func StartLinuxSabrelite(ctx context.Context, flash string) (*Machine, error) {
	return start(ctx, "qemu-system-arm", flash, SPISize, func(dir, bank string) ([]string, error) {
		initrd, dtb := filepath.Join(dir, "initrd.gz"), filepath.Join(dir, "camera.dtb")
		modules := []string{"gpio-mxc", "mtd_blkdevs", "mtdblock", "spi-imx", "ofpart", "spi-nor"}
		if err := linuxRoot("armhf", initrd, "ttymxc1", modules, "", nil); err != nil {
			return nil, err
		}
		if err := cameraTree(dtb); err != nil {
			return nil, err
		}
		return []string{"-M", "sabrelite", "-m", "512M", "-kernel", LinuxKernel("armhf"), "-dtb", dtb, "-initrd", initrd,
			"-append", "console=ttymxc1,115200 quiet", "-drive", "if=mtd,format=raw,file=" + bank, "-serial", "null", "-serial", "pty"}, nil
	})
}

// Sizes of what the Linux of a Malta board has for flash.
const (
	MaltaRAMFlash  = 1 << 20  // "mtdram test device", which holds the flash given
	MaltaNAND      = 16 << 20 // a simulated NAND in two partitions
	MaltaNANDErase = 16 << 10
)

// MaltaBadBlocks are the bad blocks of the simulated NAND.
var MaltaBadBlocks = []int{3, 7}

// StartLinuxMalta starts a real Linux of a MIPS board, little-endian, whose first
// flash, in RAM, holds the file at flash, and whose second is a NAND with bad
// blocks. A login asks at its console. It needs the Debian package
// qemu-system-mips and what scripts/peers.sh fetches.
func StartLinuxMalta(ctx context.Context, flash string) (*Machine, error) {
	return start(ctx, "qemu-system-mipsel", flash, MaltaRAMFlash, func(dir, bank string) ([]string, error) {
		initrd := filepath.Join(dir, "initrd.gz")
		image, err := os.ReadFile(bank)
		if err != nil {
			return nil, err
		}
		modules := []string{fmt.Sprintf("mtdram total_size=%d erase_size=64", MaltaRAMFlash>>10), "bch", "nandcore", "nand",
			"nandsim first_id_byte=0x98 second_id_byte=0x73 parts=512 badblocks=3,7"}
		if err := linuxRoot("mipsel", initrd, "ttyS0", modules, "dd if=/flash.img of=/dev/mtd0 bs=65536 2>/dev/null", image); err != nil {
			return nil, err
		}
		return []string{"-M", "malta", "-m", "256", "-vga", "none", "-kernel", LinuxKernel("mipsel"), "-initrd", initrd,
			"-append", "console=ttyS0,115200 quiet", "-serial", "pty"}, nil
	})
}

// linuxRoot writes a root file system in RAM: BusyBox, the modules that are named
// and what starts them, a login at the console. What is not there as a module may
// be in the kernel.
func linuxRoot(arch, to, tty string, modules []string, last string, flash []byte) error {
	busybox, err := os.ReadFile(filepath.Join(Peers(), arch, "bin/busybox"))
	if err != nil {
		return fmt.Errorf("%w: fetch it with scripts/peers.sh", err)
	}
	var c cpio
	for _, d := range []string{"bin", "sbin", "etc", "proc", "sys", "dev", "tmp", "root", "lib", "lib/modules"} {
		c.add(d, 0o040755, nil)
	}
	c.add("bin/busybox", 0o100755, busybox)
	for _, a := range applets {
		c.add("bin/"+a, 0o120777, []byte("busybox"))
	}
	c.add("sbin/getty", 0o120777, []byte("../bin/busybox"))
	c.add("init", 0o120777, []byte("bin/busybox"))
	rc := "#!/bin/sh\nmount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev\n"
	for _, m := range modules {
		name, _, _ := strings.Cut(m, " ")
		found, err := findModule(filepath.Join(Peers(), arch, "lib/modules"), name)
		if err != nil {
			return err
		}
		if found == nil {
			continue
		}
		c.add("lib/modules/"+name+".ko", 0o100644, found)
		rc += "insmod /lib/modules/" + strings.Replace(m, name, name+".ko", 1) + "\n"
	}
	if flash != nil {
		c.add("flash.img", 0o100644, flash)
	}
	rc += last + "\nhostname -F /etc/hostname\n"
	c.add("etc/rcS", 0o100755, []byte(rc))
	c.add("etc/inittab", 0o100644, fmt.Appendf(nil, "::sysinit:/etc/rcS\n%s::respawn:/sbin/getty -L %s 115200 vt100\n", tty, tty))
	c.add("etc/passwd", 0o100644, []byte("root:"+linuxHash+":0:0:root:/root:/bin/sh\n"))
	c.add("etc/group", 0o100644, []byte("root:x:0:\n"))
	c.add("etc/hostname", 0o100644, []byte("camera-"+arch+"\n"))
	c.add("etc/os-release", 0o100644, []byte("NAME=\"Test camera\"\nPRETTY_NAME=\"Test camera 1.2\"\nVERSION_ID=1.2\n"))
	return os.WriteFile(to, c.pack(), 0o644)
}

// findModule returns a module's file, nil where it is none.
func findModule(folder, name string) (found []byte, err error) {
	err = filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != name+".ko" {
			return err
		}
		if found, err = os.ReadFile(path); err == nil {
			return filepath.SkipAll
		}
		return err
	})
	return found, err
}

// cpio makes an archive as the kernel unpacks it (Linux
// Documentation/driver-api/early-userspace/buffer-format.rst, "newc").
type cpio struct {
	bytes.Buffer
	entries int
}

func (c *cpio) add(name string, mode int, content []byte) {
	c.entries++
	fmt.Fprintf(c, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.entries, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	c.align()
	c.Write(content)
	c.align()
}

func (c *cpio) align() { c.Write(make([]byte, -c.Len()&3)) }

func (c *cpio) pack() []byte {
	c.add("TRAILER!!!", 0, nil)
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	z.Write(c.Bytes())
	z.Close()
	return b.Bytes()
}

// Names that the device tree of [StartLinuxSabrelite] gives the unit.
const (
	LinuxModel  = "ACME IPC-1000 Camera"
	LinuxSerial = "SN20261123001"
)

// cameraTree makes the board's device tree into a camera's: partitions of its
// flash, a model and a serial number. The emulated SPI has no DMA.
func cameraTree(to string) error {
	dtc, err := exec.LookPath("dtc")
	if err != nil {
		return fmt.Errorf("%w: install Debian package device-tree-compiler", err)
	}
	from, err := filepath.Glob(filepath.Join(Peers(), "armhf/usr/lib/linux-image-*/imx6q-sabrelite.dtb"))
	if err != nil || len(from) == 0 {
		return errors.New("no imx6q-sabrelite.dtb: fetch it with scripts/peers.sh")
	}
	source, err := exec.Command(dtc, "-q", "-I", "dtb", "-O", "dts", from[0]).Output()
	if err != nil {
		return fmt.Errorf("dtc: %w", err)
	}
	s := string(source)
	for _, edit := range []struct {
		find string
		by   func(found string) string
	}{
		{`(?s)spi@2008000 \{.*?\n\t\t\t\t\};`, func(node string) string {
			node = regexp.MustCompile(`\n\s*dma(?:s|-names) = [^;]*;`).ReplaceAllString(node, "")
			return regexp.MustCompile(`(flash@0 \{[^}]*)\}`).ReplaceAllString(node, "${1}"+partitionNodes+"}")
		}},
		{`model = "[^"]*";`, func(string) string { return fmt.Sprintf("model = %q;\n\tserial-number = %q;", LinuxModel, LinuxSerial) }},
	} {
		re := regexp.MustCompile(edit.find)
		at := re.FindStringIndex(s)
		if at == nil {
			return fmt.Errorf("the board's device tree has no %s", edit.find)
		}
		s = s[:at[0]] + edit.by(s[at[0]:at[1]]) + s[at[1]:]
	}
	if !strings.Contains(s, "fixed-partitions") {
		return errors.New("the board's device tree has no flash@0 at its SPI")
	}
	cmd := exec.Command(dtc, "-q", "-I", "dts", "-O", "dtb", "-o", to)
	cmd.Stdin = strings.NewReader(s)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("dtc: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// partitionNodes come after the properties of the flash's node.
var partitionNodes = func() string {
	s := "\t\t\tpartitions { compatible = \"fixed-partitions\"; #address-cells = <1>; #size-cells = <1>;\n"
	for _, p := range LinuxPartitions {
		s += fmt.Sprintf("\t\t\t\tpartition@%x { label = %q; reg = <%#x %#x>; };\n", p.Offset, p.Name, p.Offset, p.Size)
	}
	return s + "\t\t\t};\n"
}()

// LinuxPartitions are the parts of the flash of [StartLinuxSabrelite].
var LinuxPartitions = []struct {
	Name         string
	Offset, Size int64
}{{"boot", 0, 0x40000}, {"env", 0x40000, 0x10000}, {"kernel", 0x50000, 0x80000}, {"rootfs", 0xd0000, 0x100000}, {"config", 0x1d0000, 0x30000}}
