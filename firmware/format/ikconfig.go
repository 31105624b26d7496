package format

import (
	"bufio"
	"io"
	"strings"

	"assay/firmware"
	"assay/firmware/compress"
)

// ikconfig is the configuration that a kernel was built with, which
// CONFIG_IKCONFIG puts into it: a gzip stream between two marks.
var ikconfig = firmware.Format{
	Name:         "linux-config",
	Source:       "Linux kernel/configs.c, scripts/extract-ikconfig",
	About:        "configuration of a Linux kernel, in it",
	Integrity:    "CRC-32 of its gzip stream",
	Authenticity: "none",
	Magics:       []firmware.Magic{{Bytes: ikStart + "\x1f\x8b\x08"}},
	Parse:        parseIKConfig,
}

const (
	ikStart = "IKCFG_ST"
	ikEnd   = "IKCFG_ED"
	ikMax   = 4 << 20 // of text; the largest are near 300 KiB
)

// ikOptions are those that say what is allowed on a unit: what code the kernel
// loads, what root can reach, what is verified.
var ikOptions = []string{
	"MODULES", "MODULE_SIG", "MODULE_SIG_FORCE", "MODULE_SIG_ALL", "SYSTEM_TRUSTED_KEYS", "MODULE_FORCE_LOAD", "KEXEC", "KEXEC_FILE", "KEXEC_SIG",
	"DEVMEM", "DEVKMEM", "STRICT_DEVMEM", "IO_STRICT_DEVMEM", "DEVPORT", "PROC_KCORE", "DEBUG_FS", "MAGIC_SYSRQ", "IKCONFIG_PROC",
	"DM_VERITY", "FS_VERITY", "INTEGRITY", "IMA", "IMA_APPRAISE", "EVM", "SECURITY", "SECURITY_LOCKDOWN_LSM", "SECURITY_SELINUX", "SECURITY_APPARMOR", "SECCOMP",
	"RANDOMIZE_BASE", "STRICT_KERNEL_RWX", "STRICT_MODULE_RWX", "DEBUG_RODATA", "STACKPROTECTOR", "STACKPROTECTOR_STRONG", "CC_STACKPROTECTOR", "HARDENED_USERCOPY", "FORTIFY_SOURCE",
	"CMDLINE", "CMDLINE_FORCE", "CMDLINE_EXTEND", "LOCALVERSION", "DEFAULT_HOSTNAME", "BLK_DEV_INITRD", "INITRAMFS_SOURCE", "BPF_SYSCALL", "USER_NS",
}

func parseIKConfig(w *firmware.Window) (*firmware.Region, error) {
	const mark = int64(len(ikStart))
	c, err := unpack(w, compress.Gzip, mark, w.Size()-mark, describeGzip)
	if c == nil || c.State != firmware.Proven {
		return nil, notFormat("linux-config: %v", err)
	}
	end := mark + c.Size
	if b, err := w.Bytes(end, int64(len(ikEnd))); err != nil || string(b) != ikEnd {
		return nil, notFormat("linux-config: the stream is not followed by its mark")
	}
	r := &firmware.Region{Size: end + int64(len(ikEnd)), Role: firmware.RoleData, State: firmware.Proven, Contents: c.Contents, Checks: c.Checks}
	describeConfig(r, io.NewSectionReader(c.Contents, 0, min(c.Contents.Size, ikMax)))
	return r, err
}

// describeConfig lists the interesting options. One that is not set stands as a
// comment, one that does not exist in this kernel not at all.
func describeConfig(r *firmware.Region, text io.Reader) {
	interesting := make(map[string]bool, len(ikOptions))
	for _, name := range ikOptions {
		interesting[name] = true
	}
	found := make(map[string]string)
	set, modules := 0, 0
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		line := lines.Text()
		if title, ok := strings.CutSuffix(strings.TrimPrefix(line, "# "), " Kernel Configuration"); ok && r.Name == "" {
			r.Name = printable(title[:min(len(title), 100)])
			r.AddField("kernel", "%s", r.Name)
		}
		if name, ok := strings.CutSuffix(strings.TrimPrefix(line, "# CONFIG_"), " is not set"); ok && interesting[name] {
			found[name] = "not set"
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "CONFIG_"), "=")
		if !ok || !strings.HasPrefix(line, "CONFIG_") {
			continue
		}
		set++
		if value == "m" {
			modules++
		}
		if interesting[name] {
			found[name] = printable(value[:min(len(value), 1024)])
		}
	}
	r.AddField("options set", "%d, of which %d are modules", set, modules)
	for _, name := range ikOptions {
		r.AddField("CONFIG_"+name, "%s", found[name])
	}
}
