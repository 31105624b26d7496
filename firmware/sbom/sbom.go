// Package sbom writes what is in an image as a bill of materials in CycloneDX 1.6
// (ECMA-424 is its 1.6): regions and files as they are nested, each file with its
// hash, software with the evidence for it, packages, kernel modules, certificates
// and keys. The same image gives the same bytes.
//
// A bill tells what was found. Opaque bytes, and what was left out, make it an
// incomplete one, and it says so.
package sbom

import (
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"assay/firmware"
	"assay/firmware/inventory"
)

// Options are what the image does not tell.
type Options struct {
	Name    string    // of the image; "firmware" if empty
	Version string    // of the image, "" if unknown
	Time    time.Time // of the analysis; left out if zero
	Tool    string    // the version of assay
}

// maxFiles bounds the files in one bill; further ones are counted.
const maxFiles = 100_000

// Write writes the bill of an image and of what inventory found in it.
func Write(w io.Writer, img *firmware.Image, report *inventory.Report, o Options) error {
	b := &bill{refs: make(map[string]bool), files: make(map[string]file), libraries: make(map[[2]string]string)}
	bom := b.build(img, report, o)
	enc := cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON)
	enc.SetPretty(true)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(bom); err != nil {
		return fmt.Errorf("sbom: %w", err)
	}
	return nil
}

// bill collects the parts.
type bill struct {
	refs      map[string]bool
	files     map[string]file      // by path
	libraries map[[2]string]string // reference, by region and name
	written   int
	omitted   int
	opaque    bool
	depends   []cdx.Dependency
}

type file struct{ ref, region string }

const imageRef = "image"

func (b *bill) build(img *firmware.Image, report *inventory.Report, o Options) *cdx.BOM {
	bom := cdx.NewBOM()
	bom.SpecVersion, bom.JSONSchema = cdx.SpecVersion1_6, "http://cyclonedx.org/schema/bom-1.6.schema.json"
	bom.SerialNumber = serial(img)
	name := o.Name
	if name == "" {
		name = "firmware"
	}
	b.refs[imageRef] = true
	root := cdx.Component{
		BOMRef: imageRef, Type: cdx.ComponentTypeFirmware, Name: name, Version: o.Version, Hashes: hashes(img.SHA256),
		Properties: properties("size", fmt.Sprint(img.Size)),
	}
	tool := cdx.Component{Type: cdx.ComponentTypeApplication, Name: "assay", Version: o.Tool}
	bom.Metadata = &cdx.Metadata{Component: &root, Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{tool}}}
	if !o.Time.IsZero() {
		bom.Metadata.Timestamp = o.Time.UTC().Format(time.RFC3339)
	}

	all := b.regions(img.Regions, "")
	var top []string
	for _, c := range all {
		top = append(top, c.BOMRef)
	}
	for _, list := range [][]cdx.Component{b.software(report), b.packages(report), b.modules(report), b.certificates(report), b.keys(report)} {
		for _, c := range list {
			top = append(top, c.BOMRef)
		}
		all = append(all, list...)
	}
	if len(all) > 0 {
		bom.Components = &all
	}
	b.needs(report)
	b.depends = append([]cdx.Dependency{{Ref: imageRef, Dependencies: list(top)}}, b.depends...)
	bom.Dependencies = &b.depends

	aggregate := cdx.CompositionAggregateUnknown // nothing here proves that nothing else is in it
	if b.opaque || b.omitted > 0 || len(report.Problems) > 0 {
		aggregate = cdx.CompositionAggregateIncomplete
	}
	bom.Compositions = &[]cdx.Composition{{Aggregate: aggregate, Assemblies: &[]cdx.BOMReference{imageRef}}}
	if b.omitted > 0 {
		bom.Properties = properties("files-left-out", fmt.Sprint(b.omitted))
	}
	return bom
}

// serial is a UUID of version 8 (RFC 9562 section 5.8) made of the image's digest.
func serial(img *firmware.Image) string {
	var id [16]byte
	sum, _ := hex.DecodeString(img.SHA256)
	copy(id[:], sum)
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// ref makes a reference that is not taken yet.
func (b *bill) ref(want string) string {
	ref := want
	for n := 2; b.refs[ref]; n++ {
		ref = fmt.Sprintf("%s#%d", want, n)
	}
	b.refs[ref] = true
	return ref
}

func (b *bill) regions(regions []*firmware.Region, where string) (list []cdx.Component) {
	for _, r := range regions {
		if r.State == firmware.Erased {
			continue
		}
		at := path.Join(where, r.Label())
		c := cdx.Component{
			BOMRef: b.ref("region:" + at), Type: cdx.ComponentTypeFirmware, Name: r.Label(), Description: inventory.Printable(r.Name), Hashes: hashes(r.SHA256),
			Properties: properties("offset", fmt.Sprint(r.Offset), "size", fmt.Sprint(r.Size), "state", r.State.String(), "format", r.Format, "role", string(r.Role)),
		}
		if r.State == firmware.Opaque && len(r.Children) == 0 || len(r.Problems) > 0 {
			b.opaque = true
		}
		inner := b.regions(r.Children, at)
		if r.Contents != nil {
			inner = append(inner, b.regions(r.Contents.Regions, at)...)
		}
		inner = append(inner, b.regionFiles(r, at)...)
		if len(inner) > 0 {
			c.Components = &inner
		}
		list = append(list, c)
	}
	return list
}

func (b *bill) regionFiles(r *firmware.Region, at string) (list []cdx.Component) {
	for _, f := range r.Files {
		if !f.Mode.IsRegular() {
			continue
		}
		if b.written == maxFiles {
			b.omitted++
			continue
		}
		b.written++
		name := inventory.Printable(f.Path)
		where := path.Join(at, name)
		c := cdx.Component{
			BOMRef: b.ref("file:" + where), Type: cdx.ComponentTypeFile, Name: name, Hashes: hashes(f.SHA256),
			Properties: properties("size", fmt.Sprint(f.Size), "mode", fmt.Sprintf("%#o", f.Mode.Perm()), "link", inventory.Printable(f.Link), "problem", inventory.Printable(f.Problem)),
		}
		if f.Problem != "" {
			b.opaque = true
		}
		b.files[where] = file{ref: c.BOMRef, region: at}
		if f.Contents != nil {
			if inner := b.regions(f.Contents.Regions, where); len(inner) > 0 {
				c.Components = &inner
			}
		}
		list = append(list, c)
	}
	return list
}

// known are the type of a component, and its vendor and product in the CPE
// dictionary of the NVD, by which vulnerabilities are looked up.
var known = map[string]struct {
	kind            cdx.ComponentType
	part            string
	vendor, product string
}{
	"BusyBox":        {cdx.ComponentTypeApplication, "a", "busybox", "busybox"},
	"Linux":          {cdx.ComponentTypeOS, "o", "linux", "linux_kernel"},
	"U-Boot":         {cdx.ComponentTypeFirmware, "a", "denx", "u-boot"},
	"OpenSSL":        {cdx.ComponentTypeLibrary, "a", "openssl", "openssl"},
	"dropbear":       {cdx.ComponentTypeApplication, "a", "dropbear_ssh_project", "dropbear_ssh"},
	"lighttpd":       {cdx.ComponentTypeApplication, "a", "lighttpd", "lighttpd"},
	"boa":            {cdx.ComponentTypeApplication, "a", "boa", "boa"},
	"dnsmasq":        {cdx.ComponentTypeApplication, "a", "thekelleys", "dnsmasq"},
	"wpa_supplicant": {cdx.ComponentTypeApplication, "a", "w1.fi", "wpa_supplicant"},
	"hostapd":        {cdx.ComponentTypeApplication, "a", "w1.fi", "hostapd"},
	"curl":           {cdx.ComponentTypeLibrary, "a", "haxx", "curl"},
	"Mbed TLS":       {cdx.ComponentTypeLibrary, "a", "arm", "mbed_tls"},
	"FFmpeg":         {cdx.ComponentTypeLibrary, "a", "ffmpeg", "ffmpeg"},
	"live555":        {cdx.ComponentTypeLibrary, "a", "live555", "streaming_media"},
	"gSOAP":          {cdx.ComponentTypeLibrary, "a", "genivia", "gsoap"},
	"musl":           {cdx.ComponentTypeLibrary, "a", "musl-libc", "musl"},
	"glibc":          {cdx.ComponentTypeLibrary, "a", "gnu", "glibc"},
	"zlib":           {cdx.ComponentTypeLibrary, "a", "zlib", "zlib"},
	"OpenSSH":        {cdx.ComponentTypeApplication, "a", "openbsd", "openssh"},
	"mini_httpd":     {cdx.ComponentTypeApplication, "a", "acme", "mini_httpd"},
	"thttpd":         {cdx.ComponentTypeApplication, "a", "acme", "thttpd"},
	"nginx":          {cdx.ComponentTypeApplication, "a", "f5", "nginx"},
	"vsftpd":         {cdx.ComponentTypeApplication, "a", "vsftpd_project", "vsftpd"},
	"wolfSSL":        {cdx.ComponentTypeLibrary, "a", "wolfssl", "wolfssl"},
}

// released is the part of a version that its makers gave it: builds add their own.
var released = regexp.MustCompile(`^\d+(\.\d+)+[a-z]?(p\d+)?`)

// confidences of what inventory found, in the words of CycloneDX a number from 0
// to 1: a banner is the program's own word, a version text is the library's, and
// symbols and modules tell of something without saying which.
var confidences = map[inventory.Evidence]float32{inventory.ByBanner: 0.9, inventory.ByText: 0.8, inventory.ByVermagic: 0.7, inventory.BySymbols: 0.6}

func (b *bill) software(report *inventory.Report) (list []cdx.Component) {
	for _, s := range report.Components {
		k, ok := known[s.Name]
		if !ok {
			k.kind = cdx.ComponentTypeLibrary
		}
		c := cdx.Component{
			BOMRef: b.ref(fmt.Sprintf("component:%s:%#x:%s", s.Path, s.Offset, s.Name)), Type: k.kind, Name: s.Name, Version: s.Version,
			Evidence:   evidence(s.Path, s.Offset, cdx.EvidenceIdentityTechniqueBinaryAnalysis, s.Match, s.Name, s.Version, confidences[s.Evidence]),
			Properties: properties("evidence", string(s.Evidence), "applets", strings.Join(s.Applets, " ")),
		}
		if v := released.FindString(s.Version); ok && v != "" {
			c.CPE = fmt.Sprintf("cpe:2.3:%s:%s:%s:%s:*:*:*:*:*:*:*", k.part, k.vendor, k.product, v)
		}
		list = append(list, c)
	}
	return list
}

func (b *bill) packages(report *inventory.Report) (list []cdx.Component) {
	for _, p := range report.Packages {
		c := cdx.Component{
			BOMRef: b.ref(fmt.Sprintf("package:%s:%#x:%s", p.Path, p.Offset, p.Name)), Type: cdx.ComponentTypeApplication, Name: p.Name, Version: p.Version,
			Evidence:   evidence(p.Path, p.Offset, cdx.EvidenceIdentityTechniqueManifestAnalysis, "", p.Name, p.Version, 0.9),
			Properties: properties("manager", p.Manager, "architecture", p.Architecture),
		}
		if p.License != "" {
			c.Licenses = &cdx.Licenses{{License: &cdx.License{Name: p.License}}}
		}
		list = append(list, c)
	}
	return list
}

func (b *bill) modules(report *inventory.Report) (list []cdx.Component) {
	for _, m := range report.Modules {
		name := m.Name
		if name == "" {
			name = path.Base(m.Path)
		}
		c := cdx.Component{
			BOMRef: b.ref("module:" + m.Path), Type: cdx.ComponentTypeDeviceDriver, Name: name, Version: m.Version,
			Evidence:   evidence(m.Path, 0, cdx.EvidenceIdentityTechniqueBinaryAnalysis, "", name, m.Version, 0.9),
			Properties: properties("vermagic", m.Vermagic, "depends", m.Depends),
		}
		if m.License != "" {
			c.Licenses = &cdx.Licenses{{License: &cdx.License{Name: m.License}}}
		}
		list = append(list, c)
	}
	return list
}

// evidence tells where something was found and by which method.
func evidence(where string, offset int64, technique cdx.EvidenceIdentityTechnique, value, name, version string, sure float32) *cdx.Evidence {
	identity := func(field cdx.EvidenceIdentityFieldType, concluded string) cdx.EvidenceIdentity {
		return cdx.EvidenceIdentity{
			Field: field, Confidence: &sure, ConcludedValue: concluded,
			Methods: &[]cdx.EvidenceIdentityMethod{{Technique: technique, Confidence: &sure, Value: value}},
		}
	}
	ids := []cdx.EvidenceIdentity{identity(cdx.EvidenceIdentityFieldTypeName, name)}
	if version != "" {
		ids = append(ids, identity(cdx.EvidenceIdentityFieldTypeVersion, version))
	}
	return &cdx.Evidence{Identity: &cdx.EvidenceIdentityChoice{Identities: &ids}, Occurrences: occurrence(where, offset)}
}

func occurrence(where string, offset int64) *[]cdx.EvidenceOccurrence {
	o := cdx.EvidenceOccurrence{Location: where}
	if offset <= math.MaxInt {
		at := int(offset)
		o.Offset = &at
	} else {
		o.AdditionalContext = fmt.Sprintf("at offset %d", offset)
	}
	return &[]cdx.EvidenceOccurrence{o}
}

// needs tells which files a program or library loads, where those are in the same
// file system.
func (b *bill) needs(report *inventory.Report) {
	for _, e := range report.Files {
		if f, ok := b.files[e.Path]; ok && e.Type == "shared" {
			for _, name := range []string{e.Soname, path.Base(e.Path)} {
				if key := [2]string{f.region, name}; name != "" && b.libraries[key] == "" {
					b.libraries[key] = f.ref
				}
			}
		}
	}
	for _, e := range report.Files {
		f, ok := b.files[e.Path]
		if !ok {
			continue
		}
		var on []string
		for _, name := range e.Needed {
			if ref := b.libraries[[2]string{f.region, name}]; ref != "" && ref != f.ref && !slices.Contains(on, ref) {
				on = append(on, ref)
			}
		}
		if len(on) > 0 {
			b.depends = append(b.depends, cdx.Dependency{Ref: f.ref, Dependencies: &on})
		}
	}
}

func list(refs []string) *[]string {
	if len(refs) == 0 {
		return nil
	}
	return &refs
}

func hashes(sha256 string) *[]cdx.Hash {
	if sha256 == "" {
		return nil
	}
	return &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sha256}}
}

// properties makes a list of name and value in turn, without empty ones.
func properties(pairs ...string) *[]cdx.Property {
	var list []cdx.Property
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			list = append(list, cdx.Property{Name: "assay:" + pairs[i], Value: pairs[i+1]})
		}
	}
	if len(list) == 0 {
		return nil
	}
	return &list
}
