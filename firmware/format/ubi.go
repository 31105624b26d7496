package format

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"assay/firmware"
	"assay/firmware/internal/blank"
)

// ubi is Linux's volume layer for raw flash: logical erase blocks (LEBs) of
// several volumes, each in any physical one (PEB). Every PEB starts with an
// erase counter header; one in use has a volume identifier header behind it,
// then the data. The headers and the volume table carry a CRC-32, and so do the
// data of static volumes. Nothing in UBI checks those of dynamic volumes.
var ubi = firmware.Format{
	Name:   "ubi",
	Source: "Linux drivers/mtd/ubi/ubi-media.h, attach.c and vtbl.c; mtd-utils ubinize(8)",
	Magics: []firmware.Magic{{Bytes: ubiECMagic}},
	Parse:  parseUBI,

	About:        "UBI volumes on raw flash",
	Integrity:    "CRC-32 of headers, of the volume table and of static volumes",
	Authenticity: "none",
}

const (
	ubiECMagic  = "UBI#"
	ubiVIDMagic = "UBI!"
	ubiHeader   = 64

	// Erase blocks of raw flash; UBI itself sets no bounds.
	ubiMinPEB = 4 << 10
	ubiMaxPEB = 16 << 20

	// Internal volumes have numbers from here on.
	ubiLayoutVolume  = 0x7fffefff
	ubiFastmapSuper  = ubiLayoutVolume + 1
	ubiFastmapBlocks = ubiLayoutVolume + 2

	ubiDynamic = 1
	ubiStatic  = 2
)

// ubiCRC is CRC-32 without the final inversion.
func ubiCRC(p []byte) uint32 { return ^crc32.ChecksumIEEE(p) }

// ubiEC is an erase counter header, big endian on flash as all of UBI.
type ubiEC struct {
	counter     uint64
	vidOffset   int64
	dataOffset  int64
	imageNumber uint32
}

func parseUBIEC(p []byte) (ubiEC, bool) {
	be := binary.BigEndian
	ok := string(p[:4]) == ubiECMagic && p[4] == 1 && be.Uint32(p[60:]) == ubiCRC(p[:60])
	return ubiEC{be.Uint64(p[8:]), int64(be.Uint32(p[16:])), int64(be.Uint32(p[20:])), be.Uint32(p[24:])}, ok
}

// ubiLEB is a volume identifier header and where its data are.
type ubiLEB struct {
	peb                     int
	kind                    byte
	copied                  bool
	volume, number          uint32
	dataSize, blocks, unfit uint32 // blocks counts a static volume's LEBs; unfit bytes at each LEB's end spoil its alignment
	dataCRC                 uint32
	sequence                uint64
}

func parseUBIVID(p []byte) (ubiLEB, bool) {
	be := binary.BigEndian
	ok := string(p[:4]) == ubiVIDMagic && p[4] == 1 && be.Uint32(p[60:]) == ubiCRC(p[:60]) && (p[5] == ubiDynamic || p[5] == ubiStatic)
	return ubiLEB{
		kind: p[5], copied: p[6] != 0, volume: be.Uint32(p[8:]), number: be.Uint32(p[12:]),
		dataSize: be.Uint32(p[20:]), blocks: be.Uint32(p[24:]), unfit: be.Uint32(p[28:]), dataCRC: be.Uint32(p[32:]), sequence: be.Uint64(p[40:]),
	}, ok
}

// ubiImage is a row of PEBs.
type ubiImage struct {
	w      *firmware.Window
	first  ubiEC
	peb    int64 // bytes of one
	count  int   // with the last one that has a header
	lebs   map[uint32]map[uint32][]ubiLEB
	used   int
	free   []int // with an erase counter only
	erased []int // without any header
	bad    []int // with neither
	broken []int // with a header that does not hold
	stale  []int // that hold an older copy of a LEB
	lowest uint64
	most   uint64
}

func parseUBI(w *firmware.Window) (*firmware.Region, error) {
	head, err := w.Bytes(0, ubiHeader)
	if err != nil {
		return nil, notFormat("ubi: %v", err)
	}
	first, ok := parseUBIEC(head)
	if !ok || first.vidOffset < ubiHeader || first.dataOffset < first.vidOffset+ubiHeader || first.dataOffset >= ubiMaxPEB {
		return nil, notFormat("ubi: the erase counter header does not hold")
	}
	u := &ubiImage{w: w, first: first, lebs: make(map[uint32]map[uint32][]ubiLEB), lowest: ^uint64(0)}
	if u.peb, err = ubiDistance(w, first); err != nil {
		return nil, err
	}
	r := &firmware.Region{Role: firmware.RoleContainer, State: firmware.Parsed}
	if u.peb == 0 {
		r.State, r.Size = firmware.Opaque, ubiHeader
		r.AddProblem("ubi: one erase counter header and no second of the same image: the size of its blocks is not known")
		return r, nil
	}
	err = u.scan()
	r.Size = min(int64(u.count)*u.peb, w.Size())
	if err != nil {
		r.AddProblem("ubi: the blocks were not read to their end: %v", err)
		return r, err
	}
	u.describe(r)
	return r, u.volumes(r)
}

// ubiDistance finds the size of a PEB: the most common distance of headers of
// one image, since a block may be bad, and an image in a volume has headers of
// its own. It is 0 when there is no second header.
func ubiDistance(w *firmware.Window, first ubiEC) (int64, error) {
	const (
		enough = 64
		step   = 64 << 10
	)
	counts := make(map[int64]int)
	last, seen := int64(0), 0
	buf := make([]byte, step+ubiHeader)
	for at := int64(1); at < w.Size() && at-last <= 4*ubiMaxPEB && seen < enough; at += step {
		n, err := w.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			return 0, err
		}
		for pos := 0; pos+ubiHeader <= n; pos++ {
			i := bytes.Index(buf[pos:n], []byte(ubiECMagic))
			if i < 0 || pos+i >= step || pos+i+ubiHeader > n {
				break
			}
			pos += i
			ec, ok := parseUBIEC(buf[pos : pos+ubiHeader])
			if !ok || ec.vidOffset != first.vidOffset || ec.dataOffset != first.dataOffset || ec.imageNumber != first.imageNumber {
				continue
			}
			counts[at+int64(pos)-last]++
			last = at + int64(pos)
			seen++
		}
	}
	best := int64(0)
	for d, n := range counts {
		if d < ubiMinPEB || d > ubiMaxPEB || d <= first.dataOffset {
			continue
		}
		if best == 0 || n > counts[best] || n == counts[best] && d < best {
			best = d
		}
	}
	return best, nil
}

// ubiMaxBad is how many written blocks without a header may follow each other.
// A NAND may have 20 bad blocks in 1024; more than that is something else.
const ubiMaxBad = 40

// scan reads the headers of all PEBs. As in the kernel, one whose erase counter
// is lost keeps its data.
func (u *ubiImage) scan() error {
	head := make([]byte, ubiHeader)
	var pending struct{ erased, bad, broken []int }
	strange := 0
	for i := 0; int64(i)*u.peb < u.w.Size() && strange <= ubiMaxBad; i++ {
		if err := u.w.Meter().Entries(1); err != nil {
			return err
		}
		at := int64(i) * u.peb
		if err := u.header(head, at); err != nil {
			return err
		}
		ec, ok := parseUBIEC(head)
		if ok && ec.imageNumber != u.first.imageNumber && ec.imageNumber != 0 && u.first.imageNumber != 0 {
			break // another image begins
		}
		if blank.Is(head, 0xff) {
			pending.erased = append(pending.erased, i)
			continue
		}
		if ok {
			u.lowest, u.most = min(u.lowest, ec.counter), max(u.most, ec.counter)
		}
		if err := u.header(head, at+u.first.vidOffset); err != nil {
			return err
		}
		leb, held := parseUBIVID(head)
		switch {
		case !ok && !held:
			pending.bad = append(pending.bad, i)
			strange++
			continue
		case !held && blank.Is(head, 0xff):
			u.free = append(u.free, i)
		case !ok || !held:
			pending.broken = append(pending.broken, i)
		}
		if held {
			leb.peb = i
			u.add(leb)
		}
		u.count, strange = i+1, 0
		u.erased, u.bad, u.broken = append(u.erased, pending.erased...), append(u.bad, pending.bad...), append(u.broken, pending.broken...)
		pending.erased, pending.bad, pending.broken = nil, nil, nil
	}
	return nil
}

// header reads a header; past the end of an image that is cut short it is blank.
func (u *ubiImage) header(p []byte, at int64) error {
	for i := range p {
		p[i] = 0xff
	}
	if at+int64(len(p)) > u.w.Size() {
		return nil
	}
	_, err := u.w.ReadAt(p, at)
	if err == io.EOF {
		err = nil
	}
	return err
}

func (u *ubiImage) add(leb ubiLEB) {
	u.used++
	v := u.lebs[leb.volume]
	if v == nil {
		v = make(map[uint32][]ubiLEB)
		u.lebs[leb.volume] = v
	}
	v[leb.number] = append(v[leb.number], leb)
}

func (u *ubiImage) describe(r *firmware.Region) {
	r.AddField("block size", "%d", u.peb)
	r.AddField("data offset", "%d", u.first.dataOffset)
	r.AddField("header offset", "%d", u.first.vidOffset)
	r.AddField("image sequence", "%#08x", u.first.imageNumber)
	r.AddField("blocks", "%d: %d used, %d free, %d erased, %d bad", u.count, u.used, len(u.free), len(u.erased), len(u.bad))
	if u.most >= u.lowest {
		r.AddField("erase counters", "%d to %d", u.lowest, u.most)
	}
	r.AddField("erased blocks", "%s", spans(u.erased))
	r.AddField("bad blocks", "%s", spans(u.bad))
	if n := len(u.lebs[ubiFastmapSuper]) + len(u.lebs[ubiFastmapBlocks]); n > 0 {
		r.AddField("fastmap blocks", "%d, not used: all headers were read", n)
	}
	r.AddCheck("block headers CRC-32", len(u.broken) == 0, "%d blocks have headers that do not hold", len(u.broken))
	if len(u.broken) > 0 {
		r.AddProblem("ubi: headers of blocks %s do not hold", spans(u.broken))
	}
	if end := int64(u.count) * u.peb; end > u.w.Size() {
		r.AddProblem("ubi: the last block is cut short by %d bytes", end-u.w.Size())
	}
	if u.first.dataOffset >= u.peb {
		r.AddProblem("ubi: data at %d are outside blocks of %d bytes", u.first.dataOffset, u.peb)
	}
}

// maxSpans keeps a list of block numbers readable.
const maxSpans = 32

// spans writes sorted numbers as "1-3 7".
func spans(list []int) string {
	list = slices.Sorted(slices.Values(list))
	list = slices.Compact(list)
	var parts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if len(parts) == maxSpans {
			parts = append(parts, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		if i == j {
			parts = append(parts, fmt.Sprint(list[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", list[i], list[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, " ")
}
