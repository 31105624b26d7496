package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"assay/firmware"
	"assay/firmware/internal/blank"
)

// ubiRecord is one entry of the volume table.
type ubiRecord struct {
	reserved, alignment, unfit uint32
	kind                       byte
	updating                   bool
	flags                      byte
	name                       string
}

const (
	ubiRecordSize = 172
	ubiMaxVolumes = 128

	ubiAutoResize = 1 << 0
	ubiSkipCheck  = 1 << 1
)

// ubiVolume is a volume as the bytes of its LEBs in order. LEBs that are not
// mapped read as 0xFF, as on the unit.
type ubiVolume struct {
	u      *ubiImage
	number uint32
	record ubiRecord
	leb    int64 // bytes of each
	size   int64
	lebs   map[uint32]ubiLEB

	region *firmware.Region
	err    error // which left its region without contents
}

// leb returns the bytes of a LEB, less the ones that its volume's alignment spoils.
func (u *ubiImage) leb(unfit uint32) int64 { return u.peb - u.first.dataOffset - int64(unfit) }

// choose picks the valid copy of each LEB. As in the kernel, the one written
// last counts, unless it is a copy made by wear-levelling that was cut off,
// which its data CRC tells.
func (u *ubiImage) choose(r *firmware.Region, volume uint32) (map[uint32]ubiLEB, error) {
	chosen := make(map[uint32]ubiLEB)
	for _, number := range slices.Sorted(maps.Keys(u.lebs[volume])) {
		copies := u.lebs[volume][number]
		slices.SortStableFunc(copies, func(a, b ubiLEB) int {
			switch {
			case a.sequence > b.sequence:
				return -1
			case a.sequence < b.sequence:
				return 1
			}
			return 0
		})
		best := 0
		for best < len(copies) && copies[best].copied {
			ok, err := u.holds(copies[best])
			if err != nil {
				return nil, err
			}
			if ok {
				break
			}
			best++
		}
		if best == len(copies) {
			best = 0
			r.AddProblem("ubi: LEB %d of volume %d: the data of block %d do not match their CRC-32, and there is no older copy", number, volume, copies[0].peb)
		}
		for i, c := range copies {
			if i == best {
				continue
			}
			u.stale = append(u.stale, c.peb)
			if c.sequence == copies[best].sequence {
				r.AddProblem("ubi: LEB %d of volume %d is in blocks %d and %d with the same sequence number %d; the first is believed", number, volume, copies[best].peb, c.peb, c.sequence)
			}
		}
		chosen[number] = copies[best]
	}
	return chosen, nil
}

// holds computes the CRC-32 of a LEB's data.
func (u *ubiImage) holds(leb ubiLEB) (bool, error) {
	at := int64(leb.peb)*u.peb + u.first.dataOffset
	if int64(leb.dataSize) > u.leb(0) || at+int64(leb.dataSize) > u.w.Size() {
		return false, nil
	}
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, u.w.Section(at, int64(leb.dataSize))); err != nil {
		return false, fmt.Errorf("ubi: data of block %d: %w", leb.peb, err)
	}
	return ^sum.Sum32() == leb.dataCRC, nil
}

// table reads the volume table. Of its two copies the first that holds counts.
func (u *ubiImage) table(r *firmware.Region) (map[uint32]ubiRecord, error) {
	chosen, err := u.choose(r, ubiLayoutVolume)
	if err != nil {
		return nil, err
	}
	var records map[uint32]ubiRecord
	var texts [2]string
	for number := range uint32(2) {
		leb, ok := chosen[number]
		if !ok {
			r.AddCheck(fmt.Sprintf("volume table copy %d CRC-32", number+1), false, "this copy is not there")
			r.AddProblem("ubi: copy %d of the volume table is not there", number+1)
			continue
		}
		size := min(u.leb(0)/ubiRecordSize, ubiMaxVolumes) * ubiRecordSize
		p, err := u.w.Bytes(int64(leb.peb)*u.peb+u.first.dataOffset, max(0, size))
		if err != nil {
			r.AddProblem("ubi: copy %d of the volume table: %v", number+1, err)
			continue
		}
		read, wrong := parseUBITable(p)
		r.AddCheck(fmt.Sprintf("volume table copy %d CRC-32", number+1), wrong == 0, "%d records, %d do not hold", len(p)/ubiRecordSize, wrong)
		if wrong > 0 {
			r.AddProblem("ubi: %d records of copy %d of the volume table do not hold", wrong, number+1)
			continue
		}
		texts[number] = string(p)
		if records == nil {
			records = read
		}
	}
	if texts[0] != "" && texts[1] != "" && texts[0] != texts[1] {
		r.AddProblem("ubi: the two copies of the volume table differ; the first is believed")
	}
	return records, nil
}

func parseUBITable(p []byte) (records map[uint32]ubiRecord, wrong int) {
	be := binary.BigEndian
	records = make(map[uint32]ubiRecord)
	for number := uint32(0); len(p) >= ubiRecordSize; number, p = number+1, p[ubiRecordSize:] {
		if be.Uint32(p[168:]) != ubiCRC(p[:168]) {
			wrong++
			continue
		}
		rec := ubiRecord{be.Uint32(p), be.Uint32(p[4:]), be.Uint32(p[8:]), p[12], p[13] != 0, p[144], text(p[16:min(144, 16+int(be.Uint16(p[14:])))])}
		if rec.reserved > 0 {
			records[number] = rec
		}
	}
	return records, wrong
}

// volumes makes a child of each volume. Its extent is the run of blocks in
// order that its first LEB is in; the field "in blocks" has them all. The
// region around them is proven when every volume is, and all headers hold.
func (u *ubiImage) volumes(r *firmware.Region) error {
	if u.leb(0) <= 0 {
		return nil
	}
	records, err := u.table(r)
	if err != nil {
		return err
	}
	if records == nil {
		r.AddProblem("ubi: no copy of the volume table holds: volumes are read by their blocks alone, without their names")
	}
	numbers := slices.Collect(maps.Keys(records))
	for _, number := range slices.Sorted(maps.Keys(u.lebs)) {
		if _, known := records[number]; !known && number < ubiLayoutVolume {
			if records != nil {
				r.AddProblem("ubi: blocks of volume %d, which the volume table does not have: the unit erases them", number)
			}
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	var list []*ubiVolume
	for _, number := range numbers {
		rec, known := records[number]
		v, verr := u.volume(r, number, rec, known)
		if v != nil {
			list = append(list, v)
		}
		if err = verr; err != nil {
			break
		}
	}
	proven := true
	for _, v := range u.view(list) {
		r.Children = append(r.Children, v.region)
		proven = proven && v.region.State == firmware.Proven
		if v.err != nil {
			return v.err
		}
	}
	if err != nil {
		return err
	}
	proven = proven && len(r.Children) > 0 // a table alone accounts for no data
	r.AddField("volumes", "%d", len(numbers))
	if len(u.stale) > 0 {
		r.AddField("blocks with older copies", "%s", spans(u.stale))
	}
	for _, run := range u.runs(u.erased) {
		erased := true
		if erased, err = u.blank(run[0], run[1]); err != nil {
			return err
		}
		if erased {
			r.Children = append(r.Children, &firmware.Region{Offset: u.w.Offset() + run[0], Size: run[1], State: firmware.Erased})
		}
	}
	if proven && len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	return nil
}

// runs returns the extents of sorted blocks that follow each other.
func (u *ubiImage) runs(list []int) [][2]int64 {
	var runs [][2]int64
	for i, n := range list {
		if i > 0 && list[i-1] == n-1 {
			runs[len(runs)-1][1] += u.peb
		} else {
			runs = append(runs, [2]int64{int64(n) * u.peb, u.peb})
		}
	}
	return runs
}

func (u *ubiImage) blank(off, size int64) (bool, error) {
	buf := make([]byte, 64<<10)
	for in := u.w.Section(off, size); ; {
		n, err := in.Read(buf)
		if !blank.Is(buf[:n], 0xff) {
			return false, nil
		}
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// volume makes ready what a volume is read by. Without a size there is nothing to
// be read.
func (u *ubiImage) volume(r *firmware.Region, number uint32, rec ubiRecord, known bool) (*ubiVolume, error) {
	lebs, err := u.choose(r, number)
	if err != nil {
		return nil, err
	}
	if len(lebs) == 0 {
		r.AddField(fmt.Sprintf("empty volume %d", number), "%s, %d LEBs reserved", rec.name, rec.reserved)
		return nil, nil
	}
	v := &ubiVolume{u: u, number: number, record: rec, lebs: lebs}
	order := slices.Sorted(maps.Keys(lebs))
	if !known {
		v.record.kind, v.record.unfit = lebs[order[0]].kind, lebs[order[0]].unfit
	}
	v.region = v.extent(order, known)
	c := v.region
	if v.leb = u.leb(v.record.unfit); v.leb <= 0 {
		c.AddProblem("ubi: %d of the %d bytes of its LEBs are said to be unused", v.record.unfit, u.leb(0))
		return v, nil
	}
	if known {
		if order = v.reserved(c, order); len(order) == 0 {
			return v, nil
		}
		if leb := lebs[order[0]]; leb.kind != rec.kind || leb.unfit != rec.unfit {
			c.AddProblem("ubi: block %d says type %d with %d unused bytes, the volume table type %d with %d", leb.peb, leb.kind, leb.unfit, rec.kind, rec.unfit)
		}
	}
	if err := v.measure(c, order); err != nil {
		v.size = 0
		return v, err
	}
	return v, nil
}

// view analyses volumes side by side: a kernel takes as long as all file systems.
func (u *ubiImage) view(list []*ubiVolume) []*ubiVolume {
	var next atomic.Int64
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(list) {
				return
			}
			if list[i].size > 0 {
				list[i].view()
			}
		}
	}
	var wait sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(list)) - 1 {
		wait.Go(work)
	}
	work()
	wait.Wait()
	return list
}

func (v *ubiVolume) view() {
	c := v.region
	img, err := v.u.w.View(fmt.Sprintf("ubi volume %d", v.number), v, v.size)
	c.Contents = img
	if img == nil {
		c.AddProblem("not analysed: %v", err)
		v.err = err
		return
	}
	if role := soleRole(img); role != firmware.RoleNone {
		c.Role = role
	}
	if c.State == firmware.Parsed && len(c.Problems) == 0 && wholly(img) {
		c.State = firmware.Proven
	}
}

// wholly tells whether every byte of an image is proven or erased.
func wholly(img *firmware.Image) bool {
	tally := img.Tally()
	return tally[firmware.Proven] > 0 && tally[firmware.Proven]+tally[firmware.Erased] == img.Size
}

func (v *ubiVolume) extent(order []uint32, known bool) *firmware.Region {
	first := v.lebs[order[0]].peb
	run := 1
	for run < len(order) && order[run] == order[run-1]+1 && v.lebs[order[run]].peb == first+run {
		run++
	}
	off := int64(first) * v.u.peb
	c := &firmware.Region{
		Offset: v.u.w.Offset() + off, Size: min(int64(run)*v.u.peb, v.u.w.Size()-off),
		Format: "ubi-volume", Name: v.record.name, Role: firmware.RoleContainer, State: firmware.Parsed,
	}
	c.AddField("volume", "%d", v.number)
	c.AddField("type", "%s", map[byte]string{ubiDynamic: "dynamic", ubiStatic: "static"}[v.record.kind])
	if known {
		c.AddField("reserved LEBs", "%d", v.record.reserved)
		c.AddField("alignment", "%d", v.record.alignment)
		if v.record.flags&ubiAutoResize != 0 {
			c.AddField("flag", "auto-resize")
		}
		if v.record.flags&ubiSkipCheck != 0 {
			c.AddField("flag", "skip-check: the unit does not verify the CRC-32 of its data")
		}
		if v.record.updating {
			c.AddProblem("ubi: an update of the volume was not finished: the unit refuses to read it")
		}
	}
	blocks := make([]int, 0, len(order))
	for _, n := range order {
		blocks = append(blocks, v.lebs[n].peb)
	}
	c.AddField("in blocks", "%s", spans(blocks))
	return c
}

// reserved leaves out LEBs that the volume table has no room for.
func (v *ubiVolume) reserved(c *firmware.Region, order []uint32) []uint32 {
	i, _ := slices.BinarySearch(order, v.record.reserved)
	if i < len(order) {
		c.AddProblem("ubi: LEBs from %d on are left out: %d are reserved", order[i], v.record.reserved)
	}
	return order[:i]
}

// measure finds the volume's size and its missing LEBs, and checks the data of
// a static one. Dynamic volumes end with their last mapped LEB.
func (v *ubiVolume) measure(c *firmware.Region, order []uint32) error {
	last := order[len(order)-1]
	v.size = (int64(last) + 1) * v.leb
	right := 0
	if v.record.kind == ubiStatic {
		blocks := v.lebs[order[0]].blocks
		if last >= blocks {
			c.AddProblem("ubi: LEB %d of a static volume of %d", last, blocks)
		} else if last+1 < blocks {
			c.AddProblem("ubi: LEBs %d to %d of the static volume are missing at its end", last+1, blocks-1)
		}
		v.size -= v.leb - min(v.leb, int64(v.lebs[last].dataSize))
		for _, n := range order {
			ok, err := v.u.holds(v.lebs[n])
			if err != nil {
				return err
			}
			if whole := int64(v.lebs[n].dataSize) == v.leb || n == last; ok && whole {
				right++
			} else {
				c.AddProblem("ubi: LEB %d in block %d: its %d bytes do not match their CRC-32 or do not fill it", n, v.lebs[n].peb, v.lebs[n].dataSize)
			}
		}
		c.AddCheck("data CRC-32 of static volume", right == len(order) && int(blocks) == len(order), "%d of %d LEBs hold", right, blocks)
	}
	if err := v.gaps(c, order); err != nil {
		return err
	}
	if v.record.kind == ubiStatic && len(c.Problems) == 0 {
		c.State = firmware.Proven
	}
	return nil
}

// gaps names the LEBs before the last that are not mapped, and charges for
// them: a number of 32 bits must not make gigabytes out of one block.
func (v *ubiVolume) gaps(c *firmware.Region, order []uint32) error {
	holes := (int64(order[len(order)-1]) + 1 - int64(len(order))) * v.leb
	if holes == 0 {
		return nil
	}
	meter := v.u.w.Meter()
	err := meter.Ratio(int64(len(order))*v.u.peb, v.size)
	if err == nil {
		err = meter.Bytes(holes)
	}
	if err != nil {
		c.AddProblem("ubi: its highest LEB is %d and %d are there: %v", order[len(order)-1], len(order), err)
		v.size = 0
		return err
	}
	var missing []int
	next := uint32(0)
	for _, n := range order {
		for ; next < n && len(missing) < 1<<16; next++ {
			missing = append(missing, int(next))
		}
		next = n + 1
	}
	c.AddProblem("ubi: %d LEBs are not mapped and read as 0xFF: %s", holes/v.leb, spans(missing))
	return nil
}

func (v *ubiVolume) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("ubi volume %d: offset %d is before the start", v.number, off)
	}
	n := 0
	for n < len(p) && off < v.size {
		into := off % v.leb
		part := p[n:min(int64(len(p)), int64(n)+v.leb-into, int64(n)+v.size-off)]
		if err := v.read(part, uint32(off/v.leb), into); err != nil {
			return n, err
		}
		n += len(part)
		off += int64(len(part))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// read fills p from one LEB.
func (v *ubiVolume) read(p []byte, number uint32, into int64) error {
	have := 0
	if leb, ok := v.lebs[number]; ok {
		at := int64(leb.peb)*v.u.peb + v.u.first.dataOffset + into
		have = int(max(0, min(int64(len(p)), v.u.w.Size()-at)))
		if _, err := v.u.w.ReadAt(p[:have], at); have > 0 && err != nil && err != io.EOF {
			return err
		}
	}
	for i := have; i < len(p); i++ {
		p[i] = 0xff
	}
	return nil
}
