package uboot

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"assay/attest"
	"assay/devices"
)

// partition is a part of a flash as the loader names it. Its device is "spi0.0"
// in the words of Linux, "nor0" in those of U-Boot.
type partition struct {
	device string
	devices.Partition
}

// maxPartitions is more than any flash is divided into.
const maxPartitions = 128

var mtdSize = regexp.MustCompile(`^(0x[0-9a-fA-F]{1,12}|\d{1,12})([kKmMgG]?)$`)

// parseMtdparts reads a definition of partitions (Linux drivers/mtd/parsers/
// cmdlinepart.c):
//
//	mtdparts=<id>:<size>[@<offset>](<name>)[ro][lk],…[;<id>:…]
//
// A size of "-" is the rest, given as 0. What does not read ends the list.
func parseMtdparts(text string) []partition {
	var all []partition
	for device := range strings.SplitSeq(strings.TrimPrefix(text, "mtdparts="), ";") {
		id, defs, ok := strings.Cut(device, ":")
		if !ok || len(id) > 64 {
			return all
		}
		at := int64(0)
		for def := range strings.SplitSeq(defs, ",") {
			place, name, ok := strings.Cut(def, "(")
			name, _, closed := strings.Cut(name, ")")
			size, offset, placed := strings.Cut(place, "@")
			if !ok || !closed || len(name) > 64 || len(all) == maxPartitions {
				return all
			}
			if placed {
				if at, ok = parseMtdSize(offset); !ok {
					return all
				}
			}
			n := int64(0)
			if size != "-" {
				if n, ok = parseMtdSize(size); !ok || n > math.MaxInt64-at {
					return all
				}
			}
			all = append(all, partition{id, devices.Partition{Name: name, Extent: attest.Extent{Offset: at, Size: n}}})
			at += n
		}
	}
	return all
}

func parseMtdSize(s string) (int64, bool) {
	m := mtdSize.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 0, 64)
	shift := 10 * (strings.Index("kmg", strings.ToLower(m[2])) + 1)
	if m[2] == "" {
		shift = 0
	}
	if err != nil || n > math.MaxInt64>>shift {
		return 0, false
	}
	return n << shift, true
}

var (
	mtdDevice = regexp.MustCompile(`^\* (\S{1,64})`)
	mtdPart   = regexp.MustCompile(`^(\s+)- 0x([0-9a-f]{8,16})-0x([0-9a-f]{8,16}) : "([^"]{1,64})"`)
)

// parseMtdList reads the partitions that "mtd list" shows (U-Boot cmd/mtd.c):
// each device, and further in its parts.
func parseMtdList(answer string) []partition {
	var all []partition
	device, whole := "", 0
	for line := range lines(answer) {
		if m := mtdDevice.FindStringSubmatch(line); m != nil {
			device, whole = m[1], 0
			continue
		}
		m := mtdPart.FindStringSubmatch(line)
		if m == nil || len(all) == maxPartitions {
			continue
		}
		if depth := len(strings.ReplaceAll(m[1], "\t", "        ")); whole == 0 || depth <= whole {
			whole = depth
			continue
		}
		from, to := number(m[2]), number(m[3])
		if to <= from || to > math.MaxInt64 {
			continue
		}
		all = append(all, partition{device, devices.Partition{Name: m[4], Extent: attest.Extent{Offset: int64(from), Size: int64(to - from)}}})
	}
	return all
}

var mtdpartsRow = regexp.MustCompile(`^\s*\d{1,3}: (\S{1,64})\s+0x([0-9a-f]{8})\s+0x([0-9a-f]{8})\s`)
var mtdpartsDevice = regexp.MustCompile(`^device (\S{1,40}) <`)

// parseMtdpartsAnswer reads the table that "mtdparts" prints (U-Boot
// cmd/mtdparts.c).
func parseMtdpartsAnswer(answer string) []partition {
	var all []partition
	device := ""
	for line := range lines(answer) {
		if m := mtdpartsDevice.FindStringSubmatch(line); m != nil {
			device = m[1]
		} else if m := mtdpartsRow.FindStringSubmatch(line); m != nil && len(all) < maxPartitions {
			all = append(all, partition{device, devices.Partition{Name: m[1], Extent: attest.Extent{Offset: int64(number(m[3])), Size: int64(number(m[2]))}}})
		}
	}
	return all
}

// partitionsOf are the parts of a bank: those of its device or, where there is
// one bank only, all.
func (p *Prompt) partitionsOf(bank string) []devices.Partition {
	var size int64
	for _, m := range p.banks {
		if m.Name == bank {
			size = m.Size
		}
	}
	kind := strings.TrimRight(bank, "0123456789")
	var all []devices.Partition
	for _, part := range p.parts {
		if len(p.banks) > 1 && part.device != bank && !strings.HasPrefix(part.device, kind) {
			continue
		}
		x := part.Partition
		if x.Size == 0 {
			x.Size = size - x.Offset
		}
		if x.Offset >= 0 && x.Size > 0 && x.Size <= size && x.Offset <= size-x.Size {
			all = append(all, x)
		}
	}
	return all
}
