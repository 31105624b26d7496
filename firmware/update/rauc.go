package update

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"

	"assay/firmware"
)

// rauc is the bundle of RAUC: a SquashFS, in the verity and crypt formats the
// dm-verity tree over it, a CMS message, and the message's size as the last
// eight bytes. Only the end tells it from a SquashFS, so that it is adopted.
//
// In a plain bundle the CMS message signs the SquashFS; in the others it holds
// the manifest, and that the root hash of the tree. In a crypt bundle the
// SquashFS is encrypted under a key in the manifest, which rauc encrypt in turn
// encrypts for its recipients. A manifest that is not encrypted gives the key
// away; the SquashFS is then decrypted here.
var rauc = firmware.Format{
	Name:         "rauc",
	Source:       "RAUC docs/reference.rst, section Bundle Formats; src/bundle.c, src/dm.c",
	About:        "RAUC update bundle",
	Integrity:    "SHA-256 of each image in its manifest; a dm-verity tree in verity bundles",
	Authenticity: "CMS signature of the manifest or bundle: worth its certificate chain, not verified here",
	Adopt:        adoptRAUC,
}

func adoptRAUC(w *firmware.Window, parts []*firmware.Region) []*firmware.Region {
	const trailer = 8
	tail, err := w.Bytes(w.Size()-trailer, trailer)
	if err != nil {
		return nil
	}
	size := binary.BigEndian.Uint64(tail)
	if size < 64 || size > maxCMS || int64(size) > w.Size()-trailer {
		return nil
	}
	at := w.Size() - trailer - int64(size)
	signature, err := w.Bytes(at, int64(size))
	if err != nil {
		return nil
	}
	m, err := parseCMS(signature)
	if err != nil {
		return nil
	}
	b := &bundle{w: w, message: m, end: at}
	if b.manifest = parseManifest(m.content); b.manifest.format() == "" {
		b.manifest.set("bundle", "format", map[bool]string{true: "crypt", false: "plain"}[m.cipher != ""])
	}
	if b.manifest.format() == "plain" && !squashed(parts) {
		return nil
	}
	b.region = &firmware.Region{Offset: w.Offset(), Size: w.Size(), Format: "rauc", Role: firmware.RoleContainer, State: firmware.Parsed}
	b.read(parts)
	return []*firmware.Region{b.region}
}

// squashed tells whether a SquashFS starts the bundle.
func squashed(parts []*firmware.Region) bool {
	return len(parts) > 0 && parts[0].Format == "squashfs"
}

// bundle is a RAUC bundle that is being read.
type bundle struct {
	w        *firmware.Window
	message  *message
	manifest *manifest
	region   *firmware.Region
	end      int64 // of what stands before the CMS message
	data     int64 // bytes of the SquashFS
}

func (b *bundle) read(parts []*firmware.Region) {
	r := b.region
	r.AddField("bundle format", "%s", b.manifest.format())
	b.data = b.end
	held := false
	if b.manifest.format() == "plain" {
		held = b.plain()
	} else if b.message.cipher == "" {
		held = b.verity()
	}
	payload := b.payload(parts)
	r.Children = append(r.Children, payload...)
	if tree := b.end - b.data; tree > 0 {
		state := firmware.Parsed
		if held {
			state = firmware.Proven
		}
		r.Children = append(r.Children, &firmware.Region{Offset: b.w.Offset() + b.data, Size: tree, Format: "dm-verity", Name: "hash tree", State: state})
	}
	if len(payload) > 0 && b.manifest.format() == "plain" {
		if m := readManifest(b.w, payload[0].FS); m != nil {
			b.manifest = m
		}
	}
	b.manifest.describe(r)
	if len(payload) > 0 {
		b.images(payload[0])
	}
	cms := &firmware.Region{Offset: b.w.Offset() + b.end, Size: b.w.Size() - 8 - b.end, Format: "cms", Name: "signature", State: firmware.Parsed}
	b.message.describe(cms)
	b.message.describe(r)
	r.Children = append(r.Children, cms)
	if held {
		r.State = firmware.Proven
	}
}

// plain compares the digest that the signer signed with that of the SquashFS.
func (b *bundle) plain() bool {
	sums := make(map[crypto.Hash][]byte)
	for _, h := range b.message.hashes() {
		sum, err := digest(b.w, h, 0, b.data)
		if err != nil {
			b.region.AddProblem("rauc: %v", err)
			return false
		}
		sums[h] = sum
	}
	return b.message.check(b.region, "the SquashFS", sums)
}

// verity recomputes the hash tree and compares its root with the manifest's.
func (b *bundle) verity() bool {
	r := b.region
	sums := make(map[crypto.Hash][]byte)
	for _, h := range b.message.hashes() {
		sum := h.New()
		sum.Write(b.message.content)
		sums[h] = sum.Sum(nil)
	}
	signed := b.message.check(r, "the manifest", sums)
	want, err1 := hex.DecodeString(b.manifest.value("bundle", "verity-hash"))
	salt, err2 := hex.DecodeString(b.manifest.value("bundle", "verity-salt"))
	size, err3 := b.manifest.number("bundle", "verity-size")
	if err := errors.Join(err1, err2, err3); err != nil || len(want) != crypto.SHA256.Size() || len(salt) > 256 {
		r.AddProblem("rauc: the manifest has no sound verity-hash, verity-salt and verity-size")
		return false
	}
	r.AddField("verity root hash", "%x", want)
	r.AddField("verity salt", "%x", salt)
	r.AddField("verity tree size", "%d", size)
	if size < 0 || size > b.end || (b.end-size)%verityBlock != 0 || size == b.end {
		r.AddProblem("rauc: a hash tree of %d bytes does not leave whole blocks of the %d bytes before the signature", size, b.end)
		return false
	}
	b.data = b.end - size
	tree := newVerityTree(salt, b.data/verityBlock)
	if tree.size() != size {
		r.AddProblem("rauc: the hash tree of %d blocks has %d bytes, the manifest says %d", tree.blocks, tree.size(), size)
		return false
	}
	root, same, err := tree.verify(b.w.Section(0, b.data), b.w.Section(b.data, size))
	if err != nil {
		r.AddProblem("rauc: dm-verity: %v", err)
		return false
	}
	match := bytes.Equal(root, want)
	r.AddCheck("dm-verity root hash", match, "computed %x over %d blocks, the manifest says %x", root, tree.blocks, want)
	r.AddCheck("dm-verity tree", same, "each stored hash block compared with the computed one")
	return match && same && signed
}

// payload is the SquashFS, as the sweep found it where it is plain to see.
func (b *bundle) payload(parts []*firmware.Region) []*firmware.Region {
	if b.manifest.format() == "crypt" {
		return []*firmware.Region{b.decrypted()}
	}
	var kept []*firmware.Region
	var pos int64
	for _, p := range parts {
		if p.Offset-b.w.Offset() != pos || p.End()-b.w.Offset() > b.data {
			break
		}
		kept, pos = append(kept, p), p.End()-b.w.Offset()
	}
	return append(kept, b.w.Analyse(pos, b.data-pos)...)
}

// decrypted is the payload of a crypt bundle.
func (b *bundle) decrypted() *firmware.Region {
	if b.message.cipher != "" {
		return opaque(b.w, 0, b.data, "payload", "SquashFS and hash tree, encrypted; the key is in the encrypted manifest, not known")
	}
	r := &firmware.Region{Offset: b.w.Offset(), Size: b.data, Format: "dm-crypt", Name: "payload", Role: firmware.RoleContainer, State: firmware.Parsed}
	r.AddField("cipher", "AES-256-CBC, IV plain64, sectors of %d bytes", verityBlock)
	r.AddField("key", "stands in the manifest, which is not encrypted: whoever has the bundle can read it")
	key, err := hex.DecodeString(b.manifest.value("bundle", "crypt-key"))
	if err != nil || len(key) != 32 {
		r.State = firmware.Opaque
		r.AddProblem("rauc: the manifest has no sound crypt-key")
		return r
	}
	plain, err := newSectors(b.w.Section(0, b.data), key)
	if err == nil {
		err = b.w.Meter().Bytes(b.data)
	}
	if err == nil {
		r.Contents, err = b.w.View("rauc: decrypted payload", plain, b.data)
	}
	if err != nil {
		r.AddProblem("rauc: %v", err)
		return r
	}
	if first := r.Contents.Regions; len(first) == 0 || first[0].Format != "squashfs" {
		r.State = firmware.Opaque
		r.AddProblem("rauc: what the manifest's key decrypts is no SquashFS")
	}
	return r
}

// images compares the files that the manifest lists with their hashes.
func (b *bundle) images(payload *firmware.Region) {
	files := payload.FS
	if payload.Contents != nil && len(payload.Contents.Regions) > 0 {
		files = payload.Contents.Regions[0].FS
	}
	if files == nil {
		return
	}
	sums := newFileSums(b.w, files)
	for _, i := range b.manifest.images() {
		sums.check(b.region, i.name, i.file, i.sha256)
	}
}

// readManifest reads the manifest of a plain bundle.
func readManifest(w *firmware.Window, files fs.FS) *manifest {
	if files == nil {
		return nil
	}
	p, err := readSmall(files, "manifest.raucm")
	if err != nil {
		return nil
	}
	m := parseManifest(p)
	if m.format() == "" {
		m.set("bundle", "format", "plain")
	}
	return m
}
