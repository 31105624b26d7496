package shell

import (
	"regexp"
	"strconv"
	"strings"
)

// pair is a line "name : value".
type pair struct{ name, value string }

// parseCPUInfo reads /proc/cpuinfo (Linux arch/*/kernel: arm's setup.c, mips's
// proc.c). Of a name that comes once for each processor the first counts.
func parseCPUInfo(text string) []pair {
	var all []pair
	seen := map[string]bool{}
	for l := range strings.Lines(text) {
		name, value, ok := strings.Cut(l, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" || value == "" || len(name) > 64 || len(value) > 1024 || seen[name] || len(all) >= 256 {
			continue
		}
		seen[name] = true
		all = append(all, pair{name, value})
	}
	return all
}

func valueOf(all []pair, name string) string {
	for _, x := range all {
		if strings.EqualFold(x.name, name) {
			return x.value
		}
	}
	return ""
}

// mtdRow is one line of /proc/mtd.
type mtdRow struct {
	index       int
	size, erase int64
	name        string
}

// flashMax bounds a size that a unit claims for a flash: 1 TiB.
const flashMax = 1 << 40

// Some makers' kernels have more columns between the sizes and the name.
var mtdLine = regexp.MustCompile(`^mtd(\d{1,3}): ([0-9a-fA-F]{1,16}) ([0-9a-fA-F]{1,16}) (?:[^"]{0,80} )?"([^"]{0,64})"`)

// parseMtd reads /proc/mtd (Linux drivers/mtd/mtdcore.c, mtd_proc_show).
func parseMtd(text string) []mtdRow {
	var all []mtdRow
	for l := range strings.Lines(text) {
		m := mtdLine.FindStringSubmatch(strings.TrimSpace(l))
		if m == nil {
			continue
		}
		index, _ := strconv.Atoi(m[1])
		size, err1 := strconv.ParseInt(m[2], 16, 64)
		erase, err2 := strconv.ParseInt(m[3], 16, 64)
		if err1 != nil || err2 != nil || size <= 0 || size > flashMax || erase < 0 || erase > flashMax || len(all) >= 256 {
			continue
		}
		all = append(all, mtdRow{index, size, erase, printable(m[4])})
	}
	return all
}

// part is a partition as mtdparts or the kernel's log name it. size is 0 where
// it takes the rest of the chip.
type part struct {
	chip         string
	name         string
	offset, size int64
}

// parseMtdparts reads mtdparts= of a kernel's command line (Linux
// drivers/mtd/parsers/cmdlinepart.c):
//
//	mtdparts=<mtd-id>:<partdef>[,<partdef>][;<mtd-id>:...]
//	partdef := <size>[@<offset>][(<name>)][ro][lk]
func parseMtdparts(cmdline string) []part {
	_, s, ok := strings.Cut(" "+cmdline, " mtdparts=")
	if !ok {
		return nil
	}
	s, _, _ = strings.Cut(s, " ")
	var all []part
	for def := range strings.SplitSeq(strings.TrimSpace(s), ";") {
		chip, list, ok := strings.Cut(def, ":")
		// A chip's name may have a colon of its own ("spi0.0", "NOR:0").
		if i := strings.LastIndexByte(def, ':'); ok && strings.ContainsAny(list, ":") {
			chip, list = def[:i], def[i+1:]
		}
		if !ok || len(chip) > 64 {
			continue
		}
		at := int64(0)
		for _, x := range splitParts(list) {
			p, ok := partDef(x, at)
			if !ok || len(all) >= 256 {
				break
			}
			p.chip = printable(chip)
			all = append(all, p)
			at = p.offset + p.size
		}
	}
	return all
}

// splitParts splits at commas outside of names.
func splitParts(s string) []string {
	var all []string
	depth, from := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				all = append(all, s[from:i])
				from = i + 1
			}
		}
	}
	return append(all, s[from:])
}

var partForm = regexp.MustCompile(`^(-|\*|(?:0x[0-9a-fA-F]{1,16}|\d{1,15})[kKmMgG]?)(?:@((?:0x[0-9a-fA-F]{1,16}|\d{1,15})[kKmMgG]?))?(?:\(([^)]{0,64})\))?(?:ro|lk|slc)*$`)

func partDef(s string, at int64) (part, bool) {
	m := partForm.FindStringSubmatch(s)
	if m == nil {
		return part{}, false
	}
	p := part{name: printable(m[3]), offset: at}
	ok := true
	if m[1] != "-" && m[1] != "*" {
		p.size, ok = size(m[1])
	}
	if m[2] != "" && ok {
		p.offset, ok = size(m[2])
	}
	return p, ok && p.offset >= 0 && p.size >= 0 && p.offset <= flashMax && p.size <= flashMax
}

// size reads a number with a unit of 1024, 1024² or 1024³ bytes.
func size(s string) (int64, bool) {
	shift := 0
	switch s[len(s)-1] {
	case 'k', 'K':
		shift = 10
	case 'm', 'M':
		shift = 20
	case 'g', 'G':
		shift = 30
	}
	if shift > 0 {
		s = s[:len(s)-1]
	}
	v, err := strconv.ParseInt(s, 0, 64)
	if err != nil || v < 0 || v > flashMax>>shift {
		return 0, false
	}
	return v << shift, true
}

var (
	stamp        = regexp.MustCompile(`^(?:<\d+>)?\[ *\d+\.\d+\] ?`)
	creating     = regexp.MustCompile(`^Creating \d+ MTD partitions on "([^"]{1,64})"`)
	logPart      = regexp.MustCompile(`^0x([0-9a-f]{8,16})-0x([0-9a-f]{8,16}) : "([^"]{0,64})"`)
	badBlock     = regexp.MustCompile(`(?:[Bb]ad eraseblock \d+ at|read_bbt: bad block at|Bad block at) 0x([0-9a-f]{1,16})`)
	nandDevice   = regexp.MustCompile(`^nand: device found, `)
	norSize      = regexp.MustCompile(`^(?:spi-nor|m25p80|mtd|jz_sfc|fhspi|sfc)\S* ?([\w.:-]{0,32}): ([\w-]{3,32}) \((\d{1,8}) Kbytes\)`)
	machineModel = regexp.MustCompile(`(?:Machine model|OF: fdt: ?Machine model|Machine): (.{1,120})$`)
)

// kernelLog is what the kernel's log says about the flash.
type kernelLog struct {
	parts   []part
	bad     []int64          // offsets of bad blocks, of the one NAND there is
	chips   map[string]int64 // size by the chip's name
	part    string           // the chip's own name
	machine string
}

// parseDmesg reads the lines that Linux drivers/mtd (mtdpart.c, nand_bbt.c,
// spi-nor/core.c) and arch print.
func parseDmesg(text string) kernelLog {
	k := kernelLog{chips: map[string]int64{}}
	chip := ""
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\r\n")
		l = l[len(stamp.FindString(l)):]
		if m := creating.FindStringSubmatch(l); m != nil {
			chip = printable(m[1])
		} else if m := logPart.FindStringSubmatch(l); m != nil && len(k.parts) < 256 {
			from, err1 := strconv.ParseInt(m[1], 16, 64)
			to, err2 := strconv.ParseInt(m[2], 16, 64)
			if err1 == nil && err2 == nil && from < to && to <= flashMax {
				k.parts = append(k.parts, part{chip: chip, name: printable(m[3]), offset: from, size: to - from})
			}
		} else if m := badBlock.FindStringSubmatch(l); m != nil && len(k.bad) < 4096 {
			if at, err := strconv.ParseInt(m[1], 16, 64); err == nil && at < flashMax {
				k.bad = append(k.bad, at)
			}
		} else if m := norSize.FindStringSubmatch(l); m != nil && len(k.chips) < 16 {
			kib, _ := strconv.ParseInt(m[3], 10, 64)
			k.chips[printable(m[1])] = kib << 10
			if k.part == "" {
				k.part = m[2]
			}
		} else if m := machineModel.FindStringSubmatch(l); m != nil && k.machine == "" {
			k.machine = m[1]
		} else if nandDevice.MatchString(l) && k.part == "" {
			k.part = strings.TrimPrefix(l, "nand: device found, ")
		}
	}
	return k
}

// deviceTreeStrings splits a property of NUL-terminated strings.
func deviceTreeStrings(s string) []string {
	var all []string
	for x := range strings.SplitSeq(s, "\x00") {
		if x = strings.TrimSpace(printable(x)); x != "" && len(all) < 32 {
			all = append(all, x)
		}
	}
	return all
}

// parseModules returns the names in /proc/modules.
func parseModules(text string) []string {
	var all []string
	for l := range strings.Lines(text) {
		name, _, ok := strings.Cut(l, " ")
		if name = printable(name); ok && name != "" && len(name) <= 64 && len(all) < 512 {
			all = append(all, name)
		}
	}
	return all
}

// parseRelease reads lines NAME=value with quotes (os-release(5)).
func parseRelease(text string) []pair {
	var all []pair
	for l := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(l), "=")
		if ok && name != "" && len(name) <= 64 && len(value) <= 1024 && len(all) < 256 {
			all = append(all, pair{name, strings.Trim(value, `"'`)})
		}
	}
	return all
}

var uartLine = regexp.MustCompile(`(?m)^\s*([0-9a-f]{8,16})-[0-9a-f]{8,16} : .*uart[@:]?\d?`)

// firstUART returns the address of the first serial port in /proc/iomem.
func firstUART(iomem string) (uint64, bool) {
	m := uartLine.FindStringSubmatch(iomem)
	if m == nil {
		return 0, false
	}
	v, err := strconv.ParseUint(m[1], 16, 64)
	return v, err == nil && v != 0
}

// firstLine is the first line of a text that has something on it.
func firstLine(text string) string {
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(printable(l)); l != "" {
			return l
		}
	}
	return ""
}
