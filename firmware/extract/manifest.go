package extract

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"
	"unicode/utf8"

	"assay/firmware"
)

// Schema names the format of a manifest: one JSON document a line. The first is
// a [Header], each further one an [Entry], in the order of the image.
const Schema = "https://assay.example/extract/v1"

// Header is the first line of a manifest.
type Header struct {
	Schema string `json:"schema"`
	Size   int64  `json:"size"` // of the image
	SHA256 string `json:"sha256,omitempty"`
	Summary
}

// Entry is one region, file, folder, link or device of an image.
type Entry struct {
	Type     string `json:"type"` // region, unpacked, file, folder, link, device, pipe, socket, other
	Where    string `json:"where"`
	Path     string `json:"path,omitempty"` // in its file system
	PathRaw  string `json:"pathBase64,omitempty"`
	Disk     string `json:"disk,omitempty"` // of what was written
	Size     int64  `json:"size,omitempty"`
	SHA256   string `json:"sha256,omitempty"`
	Mode     string `json:"mode,omitempty"` // octal, with the bits for set-user-id, set-group-id and sticky
	UID      *int64 `json:"uid,omitempty"`
	GID      *int64 `json:"gid,omitempty"`
	Device   string `json:"device,omitempty"` // block or character, major:minor
	Modified string `json:"modified,omitempty"`
	XAttrs   bool   `json:"xattrs,omitempty"` // there are extended attributes; they are not read
	Target   string `json:"target,omitempty"` // of a symbolic link
	RawLink  string `json:"targetBase64,omitempty"`
	Link     string `json:"link,omitempty"` // the path of the same file, for a further hard link
	State    string `json:"state,omitempty"`
	Name     string `json:"name,omitempty"` // what the format calls a region
	Problem  string `json:"problem,omitempty"`
}

// manifest writes it beside what was there, and then in its place.
func (x *Extractor) manifest(img *firmware.Image, s Summary) error {
	const temporary = ManifestName + ".new"
	f, err := x.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	m := &writer{x: x, w: bufio.NewWriterSize(f, 64<<10)}
	m.enc = json.NewEncoder(m.w)
	m.enc.SetEscapeHTML(false)
	h := Header{Schema: Schema, Summary: s}
	if img != nil {
		h.Size, h.SHA256 = img.Size, img.SHA256
	}
	m.put(h)
	if img != nil {
		m.image(img, "")
	}
	if err := m.w.Flush(); m.err == nil {
		m.err = err
	}
	if err := f.Close(); m.err == nil {
		m.err = err
	}
	if m.err != nil {
		return fmt.Errorf("%s: %w", ManifestName, m.err)
	}
	return x.root.Rename(temporary, ManifestName)
}

type writer struct {
	x   *Extractor
	w   *bufio.Writer
	enc *json.Encoder
	err error
}

func (m *writer) put(v any) {
	if m.err == nil {
		m.err = m.enc.Encode(v)
	}
}

func (m *writer) image(img *firmware.Image, where string) {
	for _, r := range img.Regions {
		m.region(r, where)
	}
}

func (m *writer) region(r *firmware.Region, where string) {
	at := path.Join(where, r.Label())
	e := Entry{Type: "region", Where: at, Size: r.Size, SHA256: r.SHA256, State: r.State.String(), Disk: m.x.raw[rawKey{region: r}].disk}
	e.Name, _ = text(r.Name)
	m.put(e)
	for _, c := range r.Children {
		m.region(c, at)
	}
	if r.Contents != nil {
		m.put(Entry{Type: "unpacked", Where: at, Size: r.Contents.Size, SHA256: r.Contents.SHA256, Disk: m.x.raw[rawKey{r, true}].disk})
		m.image(r.Contents, at)
	}
	p := m.x.plans[r]
	if p == nil && len(r.Files) > 0 {
		p = &plan{notes: make([]note, len(r.Files))}
	}
	for i, f := range r.Files {
		m.file(f, at, p, p.notes[i])
		if f.Contents != nil {
			m.image(f.Contents, path.Join(at, f.Path))
		}
	}
}

func (m *writer) file(f *firmware.File, where string, p *plan, n note) {
	e := Entry{Where: where, Mode: mode(f.Mode), SHA256: f.SHA256, Link: f.Link, XAttrs: n.xattrs, Problem: f.Problem}
	e.Path, e.PathRaw = text(f.Path)
	e.Target, e.RawLink = text(f.Target)
	if n.known {
		uid, gid := int64(n.uid), int64(n.gid)
		e.UID, e.GID = &uid, &gid
	}
	if n.dated {
		e.Modified = time.Unix(n.modified, 0).UTC().Format(time.RFC3339)
	}
	switch t := f.Mode.Type(); {
	case f.Mode.IsRegular():
		e.Type, e.Size = "file", f.Size
		if n.written {
			e.Disk = p.path(f)
		} else if f.Problem == "" && f.Link == "" {
			e.Problem = "not written"
		}
	case t == fs.ModeDir:
		e.Type = "folder"
		if p.below(f.Path) != "" {
			e.Disk = p.path(f)
		}
	case t == fs.ModeSymlink:
		e.Type = "link"
	case t&fs.ModeDevice != 0:
		e.Type, e.Device = "device", fmt.Sprintf("block %d:%d", n.major, n.minor)
		if t&fs.ModeCharDevice != 0 {
			e.Device = fmt.Sprintf("character %d:%d", n.major, n.minor)
		}
	case t == fs.ModeNamedPipe:
		e.Type = "pipe"
	case t == fs.ModeSocket:
		e.Type = "socket"
	default:
		e.Type = "other"
	}
	m.put(e)
}

// text is a text for JSON, and its bytes in base64 where it is not UTF-8.
func text(s string) (plain, raw string) {
	if utf8.ValidString(s) {
		return s, ""
	}
	return s, base64.StdEncoding.EncodeToString([]byte(s))
}

func mode(m fs.FileMode) string {
	bits := uint32(m.Perm())
	for bit, set := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&set != 0 {
			bits |= bit
		}
	}
	return fmt.Sprintf("%04o", bits)
}

// short stands for a path that is too long.
func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}
