package update

import (
	"crypto"
	"io/fs"
	"strconv"
	"strings"

	"assay/firmware"
)

// swupdate is the .swu of SWUpdate: a cpio archive (newc or crc) whose first
// member is sw-description. That lists the others with their SHA-256, and a
// sw-description.sig beside it is what makes it more than a list.
var swupdate = firmware.Format{
	Name:         "swupdate",
	Source:       "SWUpdate doc/source/swupdate.rst, sw-description.rst, signed_images.rst",
	About:        "SWUpdate archive: a cpio with a description",
	Integrity:    "SHA-256 of each image, in the description",
	Authenticity: "signature of the description: worth that key, not verified here",
	Adopt:        adoptSWUpdate,
}

const swDescription = "sw-description"

func adoptSWUpdate(w *firmware.Window, parts []*firmware.Region) []*firmware.Region {
	var joined []*firmware.Region
	for i, p := range parts {
		if p.Format != "cpio" || p.FS == nil || firstMember(w, p) != swDescription {
			continue
		}
		if joined == nil {
			joined = append(joined, parts...)
		}
		joined[i] = readSWUpdate(w, p)
	}
	return joined
}

// firstMember is the name of a newc or crc archive's first member.
func firstMember(w *firmware.Window, p *firmware.Region) string {
	const header = 110
	h, err := w.Bytes(p.Offset-w.Offset(), header)
	if err != nil || string(h[:6]) != "070701" && string(h[:6]) != "070702" {
		return ""
	}
	n, err := strconv.ParseUint(string(h[94:102]), 16, 32)
	if err != nil || n == 0 || n > 256 {
		return ""
	}
	name, err := w.Bytes(p.Offset-w.Offset()+header, int64(n))
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(string(name[:n-1]), "./")
}

// readSWUpdate makes the bundle of the archive: what the archive is stays among
// its fields.
func readSWUpdate(w *firmware.Window, p *firmware.Region) *firmware.Region {
	r := &firmware.Region{Offset: p.Offset, Size: p.Size, Format: "swupdate", Role: firmware.RoleContainer, State: p.State, FS: p.FS, Checks: p.Checks, Problems: p.Problems}
	u := &swu{w: w, region: r, sums: newFileSums(w, p.FS)}
	description, err := readSmall(p.FS, swDescription)
	if err == nil {
		u.signature(description)
		var root *setting
		if root, err = parseConfig(description); err == nil {
			u.software(root)
		}
	}
	r.Fields = append(r.Fields, p.Fields...)
	switch {
	case err != nil:
		r.State = min(r.State, firmware.Parsed)
		r.AddProblem("swupdate: %s: %v; it may be encrypted", swDescription, err)
	case u.wrong > 0:
		r.State = min(r.State, firmware.Parsed)
		r.AddProblem("swupdate: %d of %d listed files are not what the description says", u.wrong, u.listed)
	}
	return r
}

// swu is a bundle that is being read.
type swu struct {
	w             *firmware.Window
	region        *firmware.Region
	sums          *fileSums
	listed, wrong int
}

func (u *swu) software(root *setting) {
	software := root.child("software")
	if software == nil {
		u.region.AddProblem("swupdate: %s has no software group", swDescription)
		return
	}
	u.region.AddField("software version", "%s", printable(software.value("version")))
	u.region.AddField("description", "%s", printable(software.value("description")))
	if script := software.value("embedded-script"); script != "" {
		u.region.AddField("embedded script", "%d bytes, which the unit runs", len(script))
	}
	u.region.Name = printable(software.value("version"))
	u.group(software, "")
}

// group lists what is to be installed, also for single boards and selections,
// whose groups stand inside.
func (u *swu) group(g *setting, path string) {
	for _, s := range g.inside {
		switch {
		case s.name == "hardware-compatibility":
			var revisions []string
			for _, e := range s.inside {
				revisions = append(revisions, e.text)
			}
			u.region.AddField(path+"hardware-compatibility", "%s", cutText(strings.Join(revisions, " ")))
		case s.list && (s.name == "images" || s.name == "files" || s.name == "scripts"):
			for _, e := range s.inside {
				u.entry(path+strings.TrimSuffix(s.name, "s"), e)
			}
		case s.list && (s.name == "bootenv" || s.name == "uboot"):
			for _, e := range s.inside {
				u.variable(path+s.name, e)
			}
		case s.group && len(path) < 256:
			u.group(s, path+cutText(s.name)+".")
		}
	}
}

func (u *swu) variable(kind string, e *setting) {
	if u.listed++; u.listed <= maxListed {
		u.region.AddField(kind, "%s", cutText(e.value("name")+"="+e.value("value")))
	}
}

func (u *swu) entry(kind string, e *setting) {
	name := e.value("filename")
	if u.listed++; u.listed > maxListed {
		if u.listed == maxListed+1 {
			u.region.AddProblem("swupdate: more than %d entries; the rest is not listed", maxListed)
		}
		return
	}
	words := []string{name}
	for _, key := range []string{"name", "version", "type", "device", "volume", "path", "mtdname", "compressed", "encrypted", "installed-directly", "install-if-different", "install-if-higher"} {
		if v := e.value(key); v != "" {
			words = append(words, key+"="+v)
		}
	}
	want := e.value("sha256")
	if want == "" {
		words = append(words, "without sha256")
	}
	u.region.AddField(kind, "%s", cutText(strings.Join(words, " ")))
	if want == "" || name == "" {
		return
	}
	if !u.sums.check(u.region, kind, name, want) {
		u.wrong++
	}
}

// signature says what sw-description.sig is, and compares the digest that a CMS
// message says it signs.
func (u *swu) signature(description []byte) {
	const name = swDescription + ".sig"
	if _, err := fs.Stat(u.region.FS, name); err != nil {
		u.region.AddField("signature", "none")
		return
	}
	b, err := readSmall(u.region.FS, name)
	if err != nil {
		u.region.AddProblem("swupdate: %s: %v", name, err)
		return
	}
	m, err := parseCMS(b)
	if err != nil {
		u.region.AddField("signature", "%s, %d bytes over %s, RSA or RSA-PSS by its size; %s", name, len(b), swDescription, notVerified)
		return
	}
	m.describe(u.region)
	sums := make(map[crypto.Hash][]byte)
	for _, h := range m.hashes() {
		sum := h.New()
		sum.Write(description)
		sums[h] = sum.Sum(nil)
	}
	m.check(u.region, swDescription, sums)
}

// cutText keeps a value from an image to a line.
func cutText(s string) string {
	s = printable(s)
	return s[:min(len(s), 512)]
}
