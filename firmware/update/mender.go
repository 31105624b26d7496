package update

import (
	"archive/tar"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// mender is an Artifact of Mender, version 2 or 3: a tar of version, manifest,
// header.tar and data/NNNN.tar, the tars compressed or not. The manifest has
// the SHA-256 of the header and of each file that is inside the data tars.
var mender = firmware.Format{
	Name:         "mender",
	Source:       "mender-artifact Documentation/artifact-format-v2.md and -v3.md",
	About:        "Mender artifact: a tar of updates",
	Integrity:    "SHA-256 of each file, in its manifest",
	Authenticity: "RSA or ECDSA signature of the manifest: worth that key, not verified here",
	Magics:       []firmware.Magic{{Bytes: "version\x00"}},
	Parse:        parseMender,
	Adopt:        adoptMender,
}

const (
	tarBlock  = 512
	tarRecord = 10 << 10 // what tar pads an archive to
	maxParts  = 1024
)

// adoptMender takes over an archive that was read as a plain tar.
func adoptMender(w *firmware.Window, parts []*firmware.Region) []*firmware.Region {
	var joined []*firmware.Region
	for i, p := range parts {
		if p.Format != "tar" || p.Size < tarBlock {
			continue
		}
		a := &artifact{w: w, at: p.Offset - w.Offset(), size: p.Size}
		r, err := a.parse()
		if r == nil || err != nil && r.Size != p.Size {
			continue
		}
		if joined == nil {
			joined = append(joined, parts...)
		}
		r.Offset, r.Size, r.Format, r.FS = p.Offset, p.Size, "mender", p.FS
		joined[i] = r
	}
	return joined
}

func parseMender(w *firmware.Window) (*firmware.Region, error) {
	a := &artifact{w: w, size: w.Size()}
	return a.parse()
}

// artifact is one that is being read. It starts at an offset of the window.
type artifact struct {
	w        *firmware.Window
	at, size int64
	region   *firmware.Region
	manifest map[string]string // SHA-256 by name
	matched  map[string]bool
	first    []byte // the SHA-256 of the member version
	wrong    int
}

func (a *artifact) parse() (*firmware.Region, error) {
	if head, err := a.w.Bytes(a.at, tarBlock); err != nil || string(head[:8]) != "version\x00" || string(head[257:262]) != "ustar" {
		return nil, notFormat("mender: no tar that starts with version")
	}
	section := a.w.Section(a.at, a.size)
	archive := tar.NewReader(section)
	a.region = &firmware.Region{Role: firmware.RoleContainer, State: firmware.Parsed}
	a.manifest, a.matched = make(map[string]string), make(map[string]bool)
	var data int64 // end of the members
	for n := 0; ; n++ {
		h, err := archive.Next()
		if err == io.EOF && n > 0 {
			break
		}
		if err == nil && n == maxParts {
			err = fmt.Errorf("more than %d members", maxParts)
		}
		if err == nil {
			err = a.w.Meter().Entries(1)
		}
		var off int64
		if err == nil {
			off, err = section.Seek(0, io.SeekCurrent)
		}
		if err == nil && (h.Size < 0 || h.Size > a.size-off) {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			err = a.member(n, h.Name, off, h.Size)
			data = off + (h.Size+tarBlock-1)/tarBlock*tarBlock
		}
		if errors.Is(err, firmware.ErrNotFormat) || err != nil && n == 0 {
			return nil, notFormat("mender: %v", err)
		}
		if err != nil {
			end, _ := section.Seek(0, io.SeekCurrent)
			a.region.Size, a.region.State = max(min(end, a.size), tarBlock), firmware.Opaque
			a.region.AddProblem("mender: member %d: %v: the artifact is cut short or broken", n, err)
			return a.region, keepSpent(err)
		}
	}
	end, err := section.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	if end-data < 2*tarBlock {
		a.region.AddProblem("mender: the tar does not end in two blocks of zeros: it is cut short")
	}
	a.region.Size = a.padded(end)
	a.finish()
	return a.region, nil
}

// padded is the end of the zeros that fill tar's last record.
func (a *artifact) padded(end int64) int64 {
	full := min((end+tarRecord-1)/tarRecord*tarRecord, a.size)
	p, err := a.w.Bytes(a.at+end, full-end)
	if err != nil || strings.Trim(string(p), "\x00") != "" {
		return end
	}
	return full
}

func (a *artifact) member(n int, name string, off, size int64) error {
	if n == 0 {
		return a.version(off, size)
	}
	switch {
	case name == "manifest" || name == "manifest-augment":
		p, err := a.small(name, off, size)
		if err != nil {
			return err
		}
		a.sums(p)
	case name == "manifest.sig":
		p, err := a.small(name, off, size)
		if err != nil {
			return err
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(p)))
		if err != nil {
			return fmt.Errorf("manifest.sig: %w", err)
		}
		a.region.AddField("signature", "manifest.sig, %d bytes over the manifest, RSA or ECDSA by its size; %s", len(raw), notVerified)
	}
	if size == 0 {
		return nil
	}
	sum, err := digest(a.w, crypto.SHA256, a.at+off, size)
	if err != nil {
		return err
	}
	a.compare(name, sum)
	r := container.Part(a.w, a.at+off, size, printable(name), firmware.RoleContainer)
	if !strings.Contains(name, ".tar") {
		r = &firmware.Region{Offset: a.w.Offset() + a.at + off, Size: size, Name: printable(name), Role: firmware.RoleData, State: firmware.Parsed, Format: "text"}
	}
	a.region.Children = append(a.region.Children, r)
	switch {
	case strings.HasPrefix(name, "header.tar"):
		return a.inside(r, size, a.header)
	case strings.HasPrefix(name, "data/") && strings.Contains(name, ".tar"):
		folder, _, _ := strings.Cut(name, ".tar")
		return a.inside(r, size, func(name string, member io.Reader) error {
			h := crypto.SHA256.New()
			if _, err := io.Copy(h, &patient{a.w.Context(), member}); err != nil {
				return err
			}
			a.compare(folder+"/"+name, h.Sum(nil))
			return nil
		})
	}
	return nil
}

func (a *artifact) small(name string, off, size int64) ([]byte, error) {
	return readAtMost(a.w.Section(a.at+off, size), name)
}

// version is the first member: it makes the tar an artifact.
func (a *artifact) version(off, size int64) error {
	p, err := a.small("version", off, size)
	if err != nil {
		return err
	}
	var v struct {
		Format  string
		Version int
	}
	if err := json.Unmarshal(p, &v); err != nil || v.Format != "mender" || v.Version < 1 || v.Version > 99 {
		return notFormat("mender: the member version is not an artifact's")
	}
	a.region.AddField("version", "%d", v.Version)
	sum, err := digest(a.w, crypto.SHA256, a.at+off, size)
	if err != nil {
		return err
	}
	a.first = sum // the manifest that lists it comes later
	return nil
}

// sums reads a manifest: lines of a SHA-256, two spaces and a name.
func (a *artifact) sums(p []byte) {
	for line := range strings.Lines(string(p)) {
		sum, name, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "  ")
		if !ok || len(sum) != 64 || name == "" {
			continue
		}
		if len(a.manifest) > maxParts {
			a.region.AddProblem("mender: the manifest has more than %d lines; the rest is not compared", maxParts)
			return
		}
		a.manifest[name] = strings.ToLower(sum)
	}
	if !a.matched["version"] {
		a.compare("version", a.first)
	}
}

// compare notes whether a member is what the manifest says.
func (a *artifact) compare(name string, sum []byte) {
	want, ok := a.manifest[name]
	if !ok {
		if strings.HasPrefix(name, "data/") && strings.Count(name, "/") > 1 {
			a.wrong++
			a.region.AddProblem("mender: %s is not in the manifest", printable(name))
		}
		return
	}
	match := hex.EncodeToString(sum) == want
	if !match {
		a.wrong++
	}
	a.matched[name] = true
	if len(a.region.Checks) < maxListed {
		a.region.AddCheck("SHA-256 of "+printable(name), match, "computed %x, the manifest says %s", sum, printable(want))
	}
}

// inside walks the tar that a child is, packed or not.
func (a *artifact) inside(r *firmware.Region, size int64, fn func(name string, member io.Reader) error) error {
	var section io.Reader = a.w.Section(r.Offset-a.w.Offset(), size)
	if r.Contents != nil {
		section = io.NewSectionReader(r.Contents, 0, r.Contents.Size)
	}
	archive := tar.NewReader(section)
	for n := 0; n < maxParts; n++ {
		h, err := archive.Next()
		if err == nil {
			err = a.w.Meter().Entries(1)
		}
		if err == nil && h.Typeflag == tar.TypeReg {
			err = fn(h.Name, archive)
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			if keepSpent(err) != nil {
				return err
			}
			a.wrong++
			a.region.AddProblem("mender: %s: %v", r.Name, err)
			return nil
		}
	}
	a.region.AddProblem("mender: %s has more than %d members; the rest is not compared", r.Name, maxParts)
	return nil
}

// header reads what header-info says, in the words of both versions.
func (a *artifact) header(name string, member io.Reader) error {
	if strings.HasPrefix(name, "scripts/") {
		a.region.AddField("script", "%s", printable(name))
		return nil
	}
	if name != "header-info" {
		return nil
	}
	p, err := readAtMost(member, name)
	if err != nil {
		return err
	}
	var info struct {
		Name     string                  `json:"artifact_name"`
		Devices  []string                `json:"device_types_compatible"`
		Updates  []struct{ Type string } `json:"updates"`
		Payloads []struct{ Type string } `json:"payloads"`
		Provides struct {
			Name  string `json:"artifact_name"`
			Group string `json:"artifact_group"`
		} `json:"artifact_provides"`
		Depends struct {
			Devices []string `json:"device_type"`
		} `json:"artifact_depends"`
	}
	if err := json.Unmarshal(p, &info); err != nil {
		return fmt.Errorf("header-info: %w", err)
	}
	a.region.Name = cutText(info.Name + info.Provides.Name)
	a.region.AddField("artifact name", "%s", a.region.Name)
	a.region.AddField("artifact group", "%s", cutText(info.Provides.Group))
	a.region.AddField("device types", "%s", cutText(strings.Join(append(info.Devices, info.Depends.Devices...), " ")))
	for _, p := range append(info.Updates, info.Payloads...)[:min(maxListed, len(info.Updates)+len(info.Payloads))] {
		a.region.AddField("payload", "%s", cutText(p.Type))
	}
	return nil
}

// finish says whether all that the manifest lists was there and as listed.
func (a *artifact) finish() {
	r := a.region
	if r.Field("signature") == "" {
		r.AddField("signature", "none")
	}
	missing := 0
	for name := range a.manifest {
		if !a.matched[name] {
			missing++
		}
	}
	switch {
	case len(a.manifest) == 0:
		r.AddProblem("mender: there is no manifest")
	case missing > 0 || a.wrong > 0:
		r.AddProblem("mender: of %d files in the manifest %d are missing; %d others are not as it says", len(a.manifest), missing, a.wrong)
	case len(r.Problems) == 0:
		r.State = firmware.Proven
	}
}

// keepSpent drops an error that concerns only one part of an image.
func keepSpent(err error) error {
	if spent(err) {
		return err
	}
	return nil
}
