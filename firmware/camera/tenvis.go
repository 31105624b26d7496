package camera

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"assay/firmware"
	"assay/firmware/filesystem"
	"assay/firmware/internal/container"
)

// tenvisPK2 is the update file of Tenvis cameras: sections that are files to put
// in place or commands to run, under a XOR, each with an MD5 of what it says in
// plain.
var tenvisPK2 = firmware.Format{
	Name:         "tenvis-pk2",
	Source:       "fact_extractor plugins/unpacking/tenvis_pk2/code/tenvis_pk2.py; what the MD5 covers from its sample",
	Magics:       []firmware.Magic{{Bytes: "PK2\x00"}},
	About:        "Tenvis camera update: files and shell commands under a XOR",
	Integrity:    "MD5 of each section",
	Authenticity: "none: an MD5 without a key, and a fixed XOR",
	Parse:        parsePK2,
}

const (
	pk2Header  = 28
	pk2Section = 24
	pk2MaxName = 1024
	pk2MaxText = 4096 // of a command
	pk2Shown   = 200
	pk2MaxRuns = 32 // commands listed
)

// pk2Cover starts anew with each payload. It hides nothing: it is the same for
// all of the maker's files.
var pk2Cover = []byte{0xa1, 0x83, 0x24, 0x78, 0xb3, 0x41, 0x43, 0x56}

// pk2 is the reading of one file.
type pk2 struct {
	w                      *firmware.Window
	r                      *firmware.Region
	files                  *filesystem.Listing
	good, summed, commands int
}

func parsePK2(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, pk2Header)
	if err != nil {
		return nil, notFormat("pk2: %v", err)
	}
	le := binary.LittleEndian
	count := int64(le.Uint32(b[24:]))
	first, err := w.Bytes(pk2Header, pk2Section)
	if err != nil || count == 0 || count > w.Size()/pk2Section || pk2Kind(first) == "" || !printable(b[12:16]) {
		return nil, notFormat("pk2: %d sections", count)
	}
	p := &pk2{w: w, r: &firmware.Region{Size: pk2Header, Role: firmware.RoleContainer, State: firmware.Parsed}, files: filesystem.NewListing(w.Meter())}
	p.r.AddField("camera type", "%d", le.Uint32(b[4:]))
	p.r.AddField("created", "%s", time.Unix(int64(le.Uint32(b[8:])), 0).UTC().Format(time.RFC3339))
	p.r.AddField("version", "%s", container.Text(b[12:16]))
	p.r.AddField("sections", "%d", count)
	p.r.AddField("protection", "a fixed XOR and an MD5 a section, both without a key: integrity only, proves no origin; it runs shell commands that the file brings along")
	for i := range count {
		more, err := p.section(i)
		if err != nil {
			p.files.Describe(p.r)
			return p.r, err
		}
		if !more {
			break
		}
	}
	p.files.Describe(p.r)
	ok := p.good == p.summed && int64(p.summed) == count
	p.r.AddCheck("MD5 of sections", ok, "%d of %d match", p.good, count)
	if ok && p.r.State == firmware.Parsed && len(p.r.Problems) == 0 {
		p.r.State = firmware.Proven
	}
	return p.r, nil
}

func pk2Kind(h []byte) string {
	switch kind := string(h[:4]); kind {
	case "FILE", "CMD\x00":
		return container.Text(h[:4])
	}
	return ""
}

// section reads one section, and says whether another may follow.
func (p *pk2) section(i int64) (more bool, err error) {
	if err := p.w.Meter().Entries(1); err != nil {
		return false, err
	}
	at := p.r.Size
	h, err := p.w.Bytes(at, pk2Section)
	if err != nil {
		p.r.State = firmware.Opaque
		p.r.AddProblem("section %d at %#x is not there", i, at)
		return false, nil
	}
	kind, size := pk2Kind(h), int64(binary.LittleEndian.Uint32(h[20:]))
	if kind == "" {
		p.r.AddProblem("section %d at %#x is of the unknown kind %q: the rest is not read", i, at, container.Printable(string(h[:4])))
		return false, nil
	}
	off := at + pk2Section
	if left := p.w.Size() - off; size > left {
		p.r.Size, p.r.State = p.w.Size(), firmware.Opaque
		p.r.AddProblem("section %d at %#x of %d bytes reaches past the end", i, at, size)
		return false, nil
	}
	p.r.Size = off + size
	if size == 0 {
		p.r.AddProblem("section %d at %#x has no bytes", i, at)
		return true, nil
	}
	sum := md5.New()
	if kind == "CMD" {
		err = p.command(off, size, sum)
	} else {
		err = p.file(i, off, size, sum)
	}
	if err != nil {
		return false, err
	}
	p.summed++
	if bytes.Equal(sum.Sum(nil), h[4:20]) {
		p.good++
	} else {
		p.r.AddProblem("the MD5 of section %d at %#x does not hold", i, at)
	}
	return true, nil
}

func (p *pk2) command(off, size int64, sum io.Writer) error {
	plain := io.NewSectionReader(xored{p.w, off, pk2Cover}, 0, size)
	if _, err := io.Copy(sum, plain); err != nil {
		return err
	}
	if p.commands++; p.commands > pk2MaxRuns {
		return nil
	}
	b := make([]byte, min(size, pk2MaxText))
	if _, err := plain.ReadAt(b, 0); err != nil && err != io.EOF {
		return err
	}
	text := container.Text(bytes.TrimRight(b, "\x00\n"))
	if len(text) > pk2Shown {
		text = fmt.Sprintf("%s... (%d bytes)", text[:pk2Shown], size)
	}
	p.r.AddField("command", "%s", text)
	return nil
}

// file reads the name, which is in plain, and the contents.
func (p *pk2) file(i, off, size int64, sum io.Writer) error {
	b, err := p.w.Bytes(off, min(size, 4+pk2MaxName+4))
	if err != nil {
		return err
	}
	var name string
	n := int64(-1)
	if len(b) >= 8 {
		n = int64(binary.LittleEndian.Uint32(b))
	}
	if n < 1 || n > pk2MaxName || 8+n > size {
		p.r.AddProblem("section %d at %#x is a file without name", i, off)
		return nil
	}
	name = container.Text(b[4 : 4+n])
	data, length := off+8+n, int64(binary.LittleEndian.Uint32(b[4+n:]))
	if length != size-8-n {
		p.r.AddProblem("file %q declares %d bytes in a section with room for %d", name, length, size-8-n)
		length = min(length, size-8-n)
	}
	sum.Write(b[:8+n])
	plain := xored{p.w, data, pk2Cover}
	if _, err := io.Copy(sum, io.NewSectionReader(plain, 0, length)); err != nil {
		return err
	}
	return p.files.Add(name, plain, 0, length)
}
