package uboot

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// boardInfo is what bdinfo says about memory. Sources: U-Boot cmd/bdinfo.c and,
// for the older "-> start" and "relocaddr" lines without a list, arch/*/lib.
type boardInfo struct {
	ram      []window
	reserved []uint64 // addresses near the loader itself: its code, its stack
	trees    []uint64 // of device trees, which may lie elsewhere
}

var bdinfoLine = regexp.MustCompile(`^(?:-> )?([A-Za-z][\w ]{0,20}?) *= *(?:0x)?([0-9A-Fa-f]{1,16})$`)

// parseBdinfo never fails: a line that it does not know is passed over.
func parseBdinfo(answer string) boardInfo {
	var b boardInfo
	var start uint64
	for line := range lines(answer) {
		m := bdinfoLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		v, err := strconv.ParseUint(m[2], 16, 64)
		if err != nil {
			continue
		}
		switch m[1] {
		case "start", "memstart":
			start = v
		case "size", "memsize":
			if v > 0 && start+v > start && len(b.ram) < 16 {
				b.ram = append(b.ram, window{start, v})
			}
		case "fdt_blob", "new_fdt":
			if v != 0 && len(b.trees) < 16 {
				b.trees = append(b.trees, v)
			}
		case "relocaddr", "irq_sp", "sp start", "TLB addr", "FB base":
			if v != 0 && len(b.reserved) < 64 {
				b.reserved = append(b.reserved, v)
			}
		}
	}
	return b
}

// lines ranges over the lines of an answer without their ends.
func lines(s string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for line := range strings.Lines(s) {
			if !yield(strings.TrimRight(line, "\r\n")) {
				return
			}
		}
	}
}

// variable is one line of printenv.
type variable struct{ name, value string }

var variableName = regexp.MustCompile(`^[\x21-\x3c\x3e-\x7e]{1,128}$`)

// maxVariables is more than any real environment has.
const maxVariables = 4096

// parsePrintenv reads name=value lines. A value with a line end in it, which
// U-Boot prints as it is, gives its first line only. The closing "Environment
// size: used/all bytes" tells whether lines were lost; it is not a variable.
func parsePrintenv(answer string) ([]variable, error) {
	var env []variable
	complete := false
	for line := range lines(answer) {
		if strings.HasPrefix(line, "Environment size: ") {
			complete = true
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || !variableName.MatchString(name) {
			continue
		}
		if len(env) == maxVariables {
			return env, fmt.Errorf("printenv: over %d variables", maxVariables)
		}
		env = append(env, variable{name, value})
	}
	if !complete {
		return env, fmt.Errorf("printenv: no closing line: variables may be missing")
	}
	return env, nil
}

// norBank is one bank of flinfo.
type norBank struct {
	number       int
	size         int64
	address      uint64
	manufacturer string // as printed, "0x89"; empty where flinfo does not say
	device       string
}

var (
	flinfoBank   = regexp.MustCompile(`^Bank # ?(\d{1,3}): .*?Size: (\d{1,10}) ([kKMG])i?B in (\d{1,6}) Sectors`)
	flinfoID     = regexp.MustCompile(`Manufacturer ID: (0x[0-9A-Fa-f]{1,8}), Device ID: (0x[0-9A-Fa-f]{1,8})`)
	flinfoSector = regexp.MustCompile(`^\s+([0-9A-Fa-f]{8,16})\b`)
)

// maxBank bounds a bank: the largest NOR parts hold 256 MiB.
const maxBank = 1 << 30

// parseFlinfo reads the banks of flinfo (U-Boot drivers/mtd/cfi_flash.c
// flash_print_info). A bank without a first sector address is an error, because
// it cannot be read.
func parseFlinfo(answer string) ([]norBank, error) {
	var banks []norBank
	placed := true
	for line := range lines(answer) {
		line = strings.TrimLeft(line, "\r")
		if m := flinfoBank.FindStringSubmatch(line); m != nil {
			if !placed {
				break
			}
			number, _ := strconv.Atoi(m[1])
			size, err := strconv.ParseInt(m[2], 10, 64)
			for range strings.Index("kMG", strings.Replace(m[3], "K", "k", 1)) + 1 {
				size <<= 10
			}
			if err != nil || size <= 0 || size > maxBank || len(banks) == 16 {
				return banks, fmt.Errorf("flinfo: bank %d: size %s %sB is not one of a NOR flash", number, m[2], m[3])
			}
			banks, placed = append(banks, norBank{number: number, size: size}), false
			continue
		}
		if len(banks) == 0 {
			continue
		}
		b := &banks[len(banks)-1]
		if m := flinfoID.FindStringSubmatch(line); m != nil && !placed {
			b.manufacturer, b.device = m[1], m[2]
		}
		if m := flinfoSector.FindStringSubmatch(line); m != nil && !placed {
			address, err := strconv.ParseUint(m[1], 16, 64)
			if err != nil || address+uint64(b.size) < address {
				return banks[:len(banks)-1], fmt.Errorf("flinfo: bank %d: address %s", b.number, m[1])
			}
			b.address, placed = address, true
		}
	}
	if !placed {
		return banks[:len(banks)-1], fmt.Errorf("flinfo: bank %d has no sector address", banks[len(banks)-1].number)
	}
	return banks, nil
}

// spiFlash is what sf probe found.
type spiFlash struct {
	name string
	size int64
	id   string // JEDEC id, "c2 20 18"; empty where the loader does not print it
}

var (
	sfDetected = regexp.MustCompile(`SF: Detected (\S{1,64})(?: with .*?total (\d{1,6}) ([KMG])iB)?`)
	sfID       = regexp.MustCompile(`(?i)\b(?:JEDEC )?id\s*[:=]\s*((?:0x)?[0-9a-f]{2})[ ,:]+((?:0x)?[0-9a-f]{2})[ ,:]+((?:0x)?[0-9a-f]{2})`)
	sfSize     = regexp.MustCompile(`(?i)\b(?:chip|size|total)\D{0,10}(\d{1,6}) ?([KMG])i?B`)
)

// parseSfProbe reads the line of sf probe (U-Boot drivers/mtd/spi/spi-nor-core.c)
// and the identifier that HiSilicon's and Ingenic's loaders print before it.
func parseSfProbe(answer string) (f spiFlash, ok bool) {
	m := sfDetected.FindStringSubmatch(answer)
	if m == nil {
		m = []string{"", "", "", ""}
	}
	f.name = m[1]
	size, unit := m[2], m[3]
	if size == "" {
		if m := sfSize.FindStringSubmatch(answer); m != nil {
			size, unit = m[1], strings.ToUpper(m[2])
		}
	}
	if n, err := strconv.ParseInt(size, 10, 64); err == nil {
		f.size = n << (10 * (strings.Index("KMG", unit) + 1))
	}
	if m := sfID.FindStringSubmatch(answer); m != nil {
		f.id = strings.ToLower(strings.ReplaceAll(strings.Join(m[1:], " "), "0x", ""))
	}
	if f.size < 0 || f.size > maxBank {
		f.size = 0
	}
	return f, f.name != "" || f.id != ""
}

var (
	loaderVersion = regexp.MustCompile(`(?m)^\W{0,8}(U-Boot [^\n(]{1,100}?) ?(?:\(([A-Z][a-z]{2} [ \d]\d \d{4} - \d\d:\d\d:\d\d[^)\n]{0,8})\))?(?: [^\n]*)?$`)
)

// property is one property of "fdt print".
type property struct{ node, name, value string }

var (
	fdtNode     = regexp.MustCompile(`^\s*([\w,.+@/-]{1,64}) \{$`)
	fdtProperty = regexp.MustCompile(`^\s*([\w,.+?#-]{1,64})(?: = ([^\n]*?))?;?$`)
)

// maxProperties bounds the properties of one "fdt print".
const maxProperties = 1024

// parseFdt reads the answer of "fdt print" (U-Boot cmd/fdt.c fdt_print). A node
// is named by its path under the one that was asked for.
func parseFdt(answer string) []property {
	var all []property
	var path []string
	for line := range lines(answer) {
		if len(line) > 16<<10 || len(all) == maxProperties || len(path) > 32 {
			break
		}
		if m := fdtNode.FindStringSubmatch(line); m != nil {
			path = append(path, m[1])
		} else if strings.TrimSpace(line) == "};" {
			path = path[:max(0, len(path)-1)]
		} else if m := fdtProperty.FindStringSubmatch(line); m != nil {
			all = append(all, property{strings.Join(path, "/"), m[1], m[2]})
		}
	}
	return all
}

// fdtStrings reads the value of a property that is one string or several.
func fdtStrings(value string) []string {
	var all []string
	for _, part := range strings.Split(value, `", "`) {
		if part = strings.Trim(part, `"`); part != "" && !strings.HasPrefix(part, "<") && !strings.HasPrefix(part, "[") {
			all = append(all, part)
		}
	}
	return all
}
