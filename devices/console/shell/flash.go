package shell

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"assay/attest"
	"assay/devices"
)

// fromFlash claims what the flash is and lays out its devices.
func (r *reader) fromFlash() {
	const folder, spi = "/sys/class/mtd/mtd", "/sys/bus/spi/devices/"
	r.mtd = parseMtd(r.text("/proc/mtd"))
	for _, name := range r.matching(spi, "/spi-nor/jedec_id") {
		id := firstLine(r.text(name))
		r.claim(attest.SubjectFlash, "jedec-id", spaced(id), name)
		for _, x := range []string{"manufacturer", "partname"} {
			other := strings.TrimSuffix(name, "jedec_id") + x
			r.claim(attest.SubjectFlash, map[string]string{"manufacturer": "manufacturer", "partname": "part"}[x], firstLine(r.text(other)), other)
		}
	}
	if r.log.part != "" {
		r.claim(attest.SubjectFlash, "dmesg.part", r.log.part, "dmesg")
	}
	offsets, kinds := map[int]int64{}, map[int]string{}
	for _, m := range r.mtd {
		at := folder + strconv.Itoa(m.index)
		if v, err := strconv.ParseInt(firstLine(r.files[at+"/offset"]), 10, 64); err == nil && v >= 0 && v <= flashMax {
			offsets[m.index] = v
		}
		kinds[m.index] = firstLine(r.files[at+"/type"])
	}
	rows := placeRows(r.mtd, offsets, kinds, parseMtdparts(r.files["/proc/cmdline"]), r.log.parts)
	r.p.flash = layOutFlash(rows, r.log.chips, r.log.bad, func(i int) string { return fmt.Sprintf("/dev/mtd%dro", i) })
	for i := range r.p.flash {
		c := &r.p.flash[i]
		r.claim(attest.SubjectFlash, "partitions", describe(c.Partitions), "/proc/mtd "+c.Name)
		r.claim(attest.SubjectFlash, "size", fmt.Sprint(c.Size), "/proc/mtd "+c.Name)
		for _, g := range c.gaps {
			r.sink.Problem(attest.ProblemIncomplete, "linux /proc/mtd", fmt.Sprintf("%s: no MTD device shows the %d bytes at %#x: they are not read through the system; the boot loader may show them", c.Name, g.Size, g.Offset))
		}
	}
	bad := 0
	for _, name := range r.matching(folder, "/bad_blocks") {
		n, _ := strconv.Atoi(firstLine(r.files[name]))
		bad += max(0, n)
	}
	if len(r.log.bad) > 0 {
		bad = 0
	}
	if bad > 0 {
		r.sink.Problem(attest.ProblemIncomplete, "linux /sys/class/mtd", fmt.Sprintf("the flash has %d bad blocks and the kernel's log no longer says which: what is read of them is what the chip gives", bad))
	}
}

// spaced writes an id as U-Boot does, "bf 25 41".
func spaced(id string) string {
	if len(id)%2 != 0 || len(id) > 12 {
		return id
	}
	var all []string
	for i := 0; i < len(id); i += 2 {
		all = append(all, id[i:i+2])
	}
	return strings.Join(all, " ")
}

// fromMMC finds the eMMC: its areas are flashes of their own.
func (r *reader) fromMMC() {
	const folder = "/sys/block/"
	for _, name := range r.matching(folder+"mmcblk", "/size") {
		device := strings.TrimSuffix(strings.TrimPrefix(name, folder), "/size")
		sectors, err := strconv.ParseInt(firstLine(r.text(name)), 10, 64)
		if err != nil || sectors <= 0 || sectors > flashMax/512 || strings.Contains(device, "/") {
			continue
		}
		whole, _, _ := strings.Cut(device, "boot")
		at := folder + whole + "/device/"
		if kind := firstLine(r.text(at + "type")); kind != "MMC" {
			r.claim(attest.SubjectModule, "card", strings.TrimSpace(kind+" "+firstLine(r.text(at+"name"))), at+"type")
			continue
		}
		bank := devices.Bank{Name: strings.Replace(device, "mmcblk", "mmc", 1), Size: sectors * 512, Acquisition: attest.A1}
		if device == whole {
			r.claim(attest.SubjectFlash, "part", firstLine(r.text(at+"name")), at+"name")
			r.claim(attest.SubjectFlash, "cid", firstLine(r.text(at+"cid")), at+"cid")
			r.claim(attest.SubjectFlash, "size", fmt.Sprint(bank.Size), name)
			bank.Partitions = r.mmcPartitions(device)
			r.claim(attest.SubjectFlash, "partitions", describe(bank.Partitions), folder+device)
		}
		r.p.flash = append(r.p.flash, chip{Bank: bank, segments: []segment{{size: bank.Size, device: r.p.path("/dev/" + device)}}})
	}
}

func (r *reader) mmcPartitions(device string) []devices.Partition {
	var all []devices.Partition
	at := "/sys/block/" + device + "/"
	for _, name := range r.matching(at, "/start") {
		folder := strings.TrimSuffix(name, "start")
		start, err1 := strconv.ParseInt(firstLine(r.files[name]), 10, 64)
		size, err2 := strconv.ParseInt(firstLine(r.files[folder+"size"]), 10, 64)
		if err1 != nil || err2 != nil || start < 0 || size <= 0 || start > flashMax/512 || size > flashMax/512 {
			continue
		}
		label := strings.TrimSuffix(strings.TrimPrefix(folder, at), "/")
		if partname := valueOf(parseRelease(r.files[folder+"uevent"]), "PARTNAME"); partname != "" {
			label = printable(partname)
		}
		all = append(all, devices.Partition{Name: label, Extent: attest.Extent{Offset: start * 512, Size: size * 512}})
	}
	slices.SortFunc(all, func(a, b devices.Partition) int { return int(min(1, max(-1, a.Offset-b.Offset))) })
	return all
}

// deviceForms are the names of an MTD device's node, best first: the ones that
// cannot be written to, then those of a kernel without them, and old ones.
var deviceForms = []string{"/dev/mtd%dro", "/dev/mtd%d", "/dev/mtd/%dro", "/dev/mtd/%d", "/dev/mtdblock%d"}

// findDevices finds out under which names the MTD devices can be read.
func (r *reader) findDevices() error {
	if len(r.mtd) == 0 {
		return nil
	}
	var atoms []string
	for _, f := range deviceForms {
		path := r.p.path(fmt.Sprintf(f, r.mtd[0].index))
		atoms = append(atoms, "[ -r "+path+" ]&&echo "+path+";")
	}
	b, err := r.p.fetch(r.ctx, atoms, fetchings)
	if err != nil && !errors.Is(err, devices.ErrMalformed) {
		return err
	}
	form := ""
	for _, f := range slices.Backward(deviceForms) {
		for l := range strings.Lines(string(b)) {
			if strings.TrimSpace(l) == r.p.path(fmt.Sprintf(f, r.mtd[0].index)) {
				form = f
			}
		}
	}
	if form == "" {
		r.sink.Problem(attest.ProblemIncomplete, "linux /dev", "there is no node of an MTD device that this shell may read: log in as root, or read the flash through the boot loader")
		r.p.flash = slices.DeleteFunc(r.p.flash, func(c chip) bool { return strings.Contains(c.segments[0].device, "/dev/mtd") })
		return nil
	}
	for i := range r.p.flash {
		for j := range r.p.flash[i].segments {
			seg := &r.p.flash[i].segments[j]
			var index int
			if _, err := fmt.Sscanf(seg.device, deviceForms[0], &index); err == nil {
				seg.device = r.p.path(fmt.Sprintf(form, index))
			}
		}
	}
	return nil
}

// Banks returns the flash memories that Identify found.
func (p *Prompt) Banks() []devices.Bank {
	var all []devices.Bank
	for _, c := range p.flash {
		all = append(all, c.Bank)
	}
	return all
}
