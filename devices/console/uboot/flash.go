package uboot

import (
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"assay/attest"
	"assay/devices"
)

// readNOR reads the memories that are mapped.
func (r *reader) readNOR() error {
	if !r.has("flinfo") {
		return nil
	}
	answer, ok, err := r.askFor("flinfo")
	if !ok {
		return err
	}
	found, err := parseFlinfo(answer)
	if err != nil {
		r.problem(fmt.Errorf("%w: %w", devices.ErrMalformed, err), "flinfo")
	}
	for i, b := range found {
		if b.manufacturer != "" {
			r.claim(attest.SubjectFlash, "jedec-id", b.manufacturer+" "+b.device, fmt.Sprintf("flinfo bank %d", b.number))
		}
		r.claim(attest.SubjectFlash, "size", fmt.Sprint(b.size), fmt.Sprintf("flinfo bank %d", b.number))
		r.addMemory(memory{Bank: devices.Bank{Name: fmt.Sprintf("nor%d", i), Size: b.size, Address: b.address}})
	}
	return nil
}

// readSPI reads what sf probe finds. It comes before each load as well, because
// without it some loaders read nothing and do not say so.
func (r *reader) readSPI() error {
	if !r.has("sf") {
		return nil
	}
	answer, ok, err := r.askFor("sf probe")
	if !ok {
		return err
	}
	f, found := parseSfProbe(answer)
	if !found {
		r.problem(fmt.Errorf("%w: sf probe found no flash: %q", devices.ErrMalformed, clip(strings.TrimSpace(answer))), "sf probe")
		return nil
	}
	r.claim(attest.SubjectFlash, "part", f.name, "sf probe")
	r.claim(attest.SubjectFlash, "jedec-id", f.id, "sf probe")
	r.part(f.id, "sf probe")
	return r.loaded("sf probe", memory{
		Bank: devices.Bank{Name: "spi0", Size: f.size}, unit: 1,
		load: func(ram uint64, x attest.Extent) []string {
			return []string{"sf probe", fmt.Sprintf("sf read %x %x %x", ram, x.Offset, x.Size)}
		},
	})
}

// loaded adds a memory that is read through RAM, where there is RAM for it.
func (r *reader) loaded(command string, m memory) error {
	switch {
	case m.Size <= 0:
		r.sink.Problem(attest.ProblemIncomplete, "uboot "+command, command+" does not say the memory's size: it is not read through this channel; use a programmer")
	case r.reach.staging.size == 0:
		r.sink.Problem(attest.ProblemIncomplete, "uboot "+command, "bdinfo does not show RAM that is safe to stage the flash in: it is not read through this channel; use a programmer")
	default:
		r.claim(attest.SubjectFlash, "size", fmt.Sprint(m.Size), command)
		r.addMemory(m)
	}
	return nil
}

var (
	nandInfo  = regexp.MustCompile(`(?m)^Device (\d{1,2}): (?:\d+x )?([^\n]{1,80}?)(?:, sector size (\d{1,6}) KiB)?$`)
	nandSize  = regexp.MustCompile(`(?mi)^\s*size\s+(0x[0-9a-f]{1,9}|\d{1,5} MiB)`)
	nandErase = regexp.MustCompile(`(?mi)^\s*erase size\s+(\d{1,9}) b`)
	nandSays  = regexp.MustCompile(`(?i)\b(\d{1,5}) ?(MiB|MB|Gbit|Mbit)\b`)
	nandBad   = regexp.MustCompile(`(?m)^\s*(?:0x)?([0-9a-f]{6,16})\b`)
)

// readNAND reads what nand info and nand bad show (U-Boot cmd/nand.c). nand read
// passes over bad blocks and shifts what comes behind them, so no load may hold
// one: such blocks are named unread.
func (r *reader) readNAND() error {
	if !r.has("nand") {
		return nil
	}
	answer, ok, err := r.askFor("nand info")
	m := nandInfo.FindStringSubmatch(answer)
	if !ok || m == nil {
		return err
	}
	r.claim(attest.SubjectFlash, "part", m[2], "nand info")
	erase := int64(128 << 10)
	if m[3] != "" {
		n, _ := strconv.ParseInt(m[3], 10, 64)
		erase = n << 10
	} else if e := nandErase.FindStringSubmatch(answer); e != nil {
		erase, _ = strconv.ParseInt(e[1], 10, 64)
	}
	size := sizeOfNAND(answer, m[2])
	if erase < 4<<10 || erase > 8<<20 || size%erase != 0 {
		r.problem(fmt.Errorf("%w: nand info: erase blocks of %d bytes in %d", devices.ErrMalformed, erase, size), "nand info")
		return nil
	}
	bad, ok, err := r.askFor("nand bad")
	if err != nil {
		return err
	}
	if !ok {
		r.sink.Problem(attest.ProblemIncomplete, "uboot nand bad", "the loader does not say which blocks are bad, and reading over one shifts what follows: this memory is not read through this channel; use a programmer")
		return nil
	}
	blocks, err := badBlocks(bad, size, erase)
	if err != nil {
		r.problem(fmt.Errorf("%w: %w", devices.ErrMalformed, err), "nand bad")
		return nil
	}
	r.claim(attest.SubjectFlash, "bad-blocks", fmt.Sprint(len(blocks)), "nand bad")
	return r.loaded("nand info", memory{
		Bank: devices.Bank{Name: "nand0", Size: size}, unit: erase, bad: blocks,
		load: func(ram uint64, x attest.Extent) []string {
			return []string{fmt.Sprintf("nand read %x %x %x", ram, x.Offset, x.Size)}
		},
	})
}

// sizeOfNAND finds the size where the loader prints it; the part's name has it
// otherwise, as in "NAND 128MiB 3,3V 8-bit".
func sizeOfNAND(answer, part string) int64 {
	if m := nandSize.FindStringSubmatch(answer); m != nil {
		if n, ok := strings.CutSuffix(m[1], " MiB"); ok {
			mib, _ := strconv.ParseInt(n, 10, 64)
			return mib << 20
		}
		n, _ := strconv.ParseInt(m[1][2:], 16, 64)
		return n
	}
	for _, text := range []string{part, answer} {
		if m := nandSays.FindStringSubmatch(text); m != nil {
			n, _ := strconv.ParseInt(m[1], 10, 64)
			return map[string]int64{"mib": n << 20, "mb": n << 20, "gbit": n << 27, "mbit": n << 17}[strings.ToLower(m[2])]
		}
	}
	return 0
}

// badBlocks reads the list that nand bad prints.
func badBlocks(answer string, size, erase int64) ([]attest.Extent, error) {
	var all []attest.Extent
	for _, m := range nandBad.FindAllStringSubmatch(answer, -1) {
		off, err := strconv.ParseInt(m[1], 16, 64)
		if err != nil || off >= size || off%erase != 0 || len(all) >= 4096 {
			return nil, fmt.Errorf("nand bad: %q is not a block of a memory of %d bytes", m[1], size)
		}
		all = append(all, attest.Extent{Offset: off, Size: erase})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Offset < all[j].Offset })
	return all, nil
}

var (
	mmcDevice   = regexp.MustCompile(`(?m)^Device: (\S{1,40})$`)
	mmcName     = regexp.MustCompile(`(?m)^Name: ([^\n]{1,40}?) *$`)
	mmcMaker    = regexp.MustCompile(`(?m)^Manufacturer ID: ([0-9a-fA-F]{1,6})$`)
	mmcCapacity = regexp.MustCompile(`(?m)^Capacity: (\d{1,4})(?:\.(\d))? ([KMG])iB$`)
)

// readMMC reads an eMMC or a card. mmc info rounds its capacity, so the last
// sector is searched for with reads of one sector (U-Boot cmd/mmc.c).
func (r *reader) readMMC() error {
	if !r.has("mmc") {
		return nil
	}
	answer, ok, err := r.askFor("mmc info")
	c := mmcCapacity.FindStringSubmatch(answer)
	if !ok || c == nil {
		return err
	}
	for claim, e := range map[string]*regexp.Regexp{"mmc.device": mmcDevice, "mmc.name": mmcName, "mmc.manufacturer": mmcMaker} {
		if m := e.FindStringSubmatch(answer); m != nil {
			r.claim(attest.SubjectFlash, claim, m[1], "mmc info")
		}
	}
	whole, _ := strconv.ParseInt(c[1], 10, 64)
	tenth, _ := strconv.ParseInt("0"+c[2], 10, 64)
	about := (whole*10 + tenth) << (10 * (strings.Index("KMG", c[3]) + 1)) / 10
	var size int64
	if r.reach.staging.size > 0 {
		if size, err = r.lastSector(about); err != nil {
			return err
		}
	}
	return r.loaded("mmc info", memory{
		Bank: devices.Bank{Name: "mmc0", Size: size}, unit: sector,
		load: func(ram uint64, x attest.Extent) []string {
			return []string{fmt.Sprintf("mmc read %x %x %x", ram, x.Offset/sector, (x.Size+sector-1)/sector)}
		},
	})
}

var mmcRead = regexp.MustCompile(`(\d+) blocks read: (OK|ERROR)`)

// lastSector finds the size of a memory of about so many bytes: a twentieth more
// cannot be read, a twentieth less can.
func (r *reader) lastSector(about int64) (int64, error) {
	low, high := about/sector*19/20, about/sector*21/20+2 // sectors; low-1 reads, high does not
	reads := func(at int64) (bool, error) {
		for range 1 + rereads {
			text, err := r.ask(r.ctx, request{command: fmt.Sprintf("mmc read %x %x 1", r.reach.staging.start, at), max: 4 << 10, patience: devices.Patience})
			if errors.Is(err, errRestarted) {
				err = r.regain(r.ctx)
				if err == nil {
					continue
				}
			}
			if errors.Is(err, errGarbled) {
				continue
			}
			if err != nil {
				return false, err
			}
			if m := mmcRead.FindStringSubmatch(text); m != nil {
				return m[2] == "OK", nil
			}
		}
		return false, nil
	}
	if ok, err := reads(low - 1); err != nil || !ok || low < 1 {
		return 0, err
	}
	if ok, err := reads(high); err != nil || ok {
		return 0, err
	}
	for low < high {
		mid := (low + high) / 2
		ok, err := reads(mid)
		if err != nil {
			return 0, err
		}
		if ok {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low * sector, nil
}
