package provenance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/big"
	"slices"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"assay/attest"
	"assay/firmware/fdt"
)

// A FIT configuration is signed over parts of the tree that holds it, not over
// a run of bytes (U-Boot doc/usage/fit/signature.rst; boot/image-fit-sig.c and
// tools/image-host.c). What is signed includes the hashes of the images and not
// the images, so the hashes are checked too; and it includes only the images
// that the signer chose, so what it leaves out is named.
//
// The list of signed nodes that stands in the image (hashed-nodes) is not under
// the signature and is never used; the list is made anew from the configuration.

// maxFITSignatures bounds the signatures that one FIT may ask to have checked.
const maxFITSignatures = 64

// fitExcluded are the properties that a configuration signature leaves out.
var fitExcluded = []string{"data", "data-size", "data-position", "data-offset"}

// fitDefaultImages is what a signature without "sign-images" signs.
var fitDefaultImages = []string{"kernel", "fdt", "script"}

// verifyFIT checks every configuration of the FIT at base in an image. Extents
// in the endorsements are counted from the image's start.
func verifyFIT(r io.ReaderAt, base, size int64, source string, anchors []*Anchor) ([]attest.Endorsement, error) {
	section := io.NewSectionReader(r, base, size)
	tree, err := fdt.Parse(section, size)
	if err != nil {
		return nil, err
	}
	f := fit{tree: tree, r: section, base: base, size: size, source: source, anchors: anchors}
	return f.verify(), nil
}

type fit struct {
	tree       *fdt.Tree
	r          *io.SectionReader
	base, size int64
	source     string
	anchors    []*Anchor
}

func (f *fit) endorsement(where string) attest.Endorsement {
	return attest.Endorsement{Scheme: "uboot-fit", Subject: attest.SubjectFirmware, Source: f.source + where}
}

func (f *fit) verify() []attest.Endorsement {
	var out []attest.Endorsement
	if len(f.tree.Duplicates) > 0 {
		e := f.endorsement("")
		e.Status = attest.StatusFailed
		e.Detail = fmt.Sprintf("%s stands twice in the tree: two readers of it would see two different images", f.tree.Duplicates[0])
		return append(out, e)
	}
	out = append(out, f.brokenHashes()...)
	configurations := f.tree.Lookup("/configurations")
	if configurations == nil {
		return out
	}
	checked := 0
	for _, conf := range configurations.Children {
		signed := false
		for _, sig := range conf.Children {
			if !strings.HasPrefix(sig.Name, "signature") {
				continue
			}
			signed = true
			if checked++; checked > maxFITSignatures {
				e := f.endorsement("/configurations/" + conf.Name)
				e.Status = attest.StatusUnsupported
				e.Detail = fmt.Sprintf("more than %d signatures; the rest were not checked", maxFITSignatures)
				return append(out, e)
			}
			out = append(out, f.verifySignature(conf, sig))
		}
		if !signed {
			e := f.endorsement("/configurations/" + conf.Name)
			e.Status = attest.StatusUnanchored
			e.Detail = "configuration " + conf.Name + " is not signed"
			out = append(out, e)
		}
	}
	return out
}

// brokenHashes reports images whose own strong hash does not hold. That alone
// is no failed signature: half of an old update, left in the other slot, looks
// the same and must not refuse a unit. Where an anchor signed the hash,
// verifySignature says that it failed.
func (f *fit) brokenHashes() []attest.Endorsement {
	images := f.tree.Lookup("/images")
	if images == nil {
		return nil
	}
	var out []attest.Endorsement
	for _, image := range images.Children {
		if err := f.checkHashes(image); errors.Is(err, errHashMismatch) {
			e := f.endorsement("/images/" + image.Name)
			e.Scheme = "uboot-fit-hash"
			e.Status = attest.StatusUnanchored
			e.Detail = fmt.Sprintf("image %s: %v", image.Name, err)
			out = append(out, e)
		}
	}
	return out
}

func (f *fit) verifySignature(conf, sig *fdt.Node) attest.Endorsement {
	e := f.endorsement("/configurations/" + conf.Name + "/" + sig.Name)
	e.Algorithm = f.tree.String(sig, "algo")
	e.Key = f.tree.String(sig, "key-name-hint")
	value, err := f.value(sig, "value")
	if err != nil || len(value) == 0 {
		e.Status, e.Detail = attest.StatusUnsupported, "the signature has no readable value"
		return e
	}
	alg, err := parseFITAlgorithm(e.Algorithm, f.tree.String(sig, "padding"))
	if err != nil {
		e.Status, e.Detail = attest.StatusUnsupported, err.Error()
		return e
	}
	images, err := f.signedImages(conf, sig)
	if err != nil {
		e.Status, e.Detail = attest.StatusFailed, err.Error()
		return e
	}
	extents, err := f.signedExtents(conf, sig, images)
	if err != nil {
		e.Status, e.Detail = attest.StatusFailed, err.Error()
		return e
	}
	if alg.padding != "" {
		e.Algorithm += "," + alg.padding
	}

	anchor, broken := f.findAnchor(alg, value, extents)
	switch {
	case anchor == nil && broken != nil:
		e.Status, e.Maker, e.Anchor, e.Key = attest.StatusFailed, broken.Maker, broken.ID, string(broken.Fingerprint)
		e.Detail = fmt.Sprintf("configuration %s was signed with the key of anchor %s (%s) and changed afterwards", conf.Name, broken.ID, broken.Maker)
		return e
	case anchor == nil:
		e.Status = attest.StatusUnanchored
		e.Detail = fmt.Sprintf("configuration %s is signed with a key %q that is none of the %d anchors for firmware", conf.Name, e.Key, len(f.anchors))
		return e
	}
	e.Maker, e.Anchor, e.Key = anchor.Maker, anchor.ID, string(anchor.Fingerprint)
	e.Covered = extents
	var weak []string
	for _, image := range images {
		switch err := f.checkHashes(image); {
		case errors.Is(err, errWeakHash):
			weak = append(weak, image.Name)
			continue
		case err != nil:
			e.Status, e.Covered = attest.StatusFailed, nil
			e.Detail = fmt.Sprintf("the signature of configuration %s holds, but image %s: %v", conf.Name, image.Name, err)
			return e
		}
		if data, err := f.data(image); err == nil {
			e.Covered = append(e.Covered, data)
		}
	}
	for i := range e.Covered {
		e.Covered[i].Offset += f.base
	}
	e.Covered = merge(e.Covered)
	e.Status = attest.StatusVerified
	e.Detail = "configuration " + conf.Name + " with images " + names(images)
	if len(weak) > 0 {
		e.Detail += "; not covered for want of a strong hash: " + strings.Join(weak, ", ")
	}
	return e
}

// findAnchor returns the anchor whose key made the signature over the extents,
// or, in broken, one whose key made it over something else.
func (f *fit) findAnchor(alg fitAlgorithm, sig []byte, extents []attest.Extent) (anchor, broken *Anchor) {
	for _, a := range f.anchors {
		err := alg.verify(a.public, sig, func() io.Reader { return f.read(extents) })
		if err == nil {
			return a, nil
		}
		if k, ok := a.public.(*rsa.PublicKey); ok && alg.family == "rsa" && signedSomethingElse(k, sig, alg.hash) {
			broken = a
		}
	}
	return nil, broken
}

func (f *fit) read(extents []attest.Extent) io.Reader {
	var parts []io.Reader
	for _, x := range extents {
		parts = append(parts, io.NewSectionReader(f.r, x.Offset, x.Size))
	}
	return io.MultiReader(parts...)
}

// signedImages lists the image nodes that the signature speaks for.
func (f *fit) signedImages(conf, sig *fdt.Node) ([]*fdt.Node, error) {
	kinds, given := f.tree.Strings(sig, "sign-images"), true
	if kinds == nil {
		kinds, given = fitDefaultImages, false
	}
	var out []*fdt.Node
	for _, kind := range kinds {
		refs := f.tree.Strings(conf, kind)
		if len(refs) == 0 && given {
			return nil, fmt.Errorf("configuration %s: it says that %q is signed and has none", conf.Name, kind)
		}
		for _, ref := range refs {
			image := f.tree.Lookup("/images/" + ref)
			if image == nil || strings.Contains(ref, "/") {
				return nil, fmt.Errorf("configuration %s: its %s %q is not among the images", conf.Name, kind, ref)
			}
			if !slices.Contains(out, image) {
				out = append(out, image)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("configuration %s: its signature speaks for no image", conf.Name)
	}
	return out, nil
}

// signedExtents lists the bytes under the signature, in order and counted from
// the FIT's start: the nodes "/", the configuration, each image and its hashes
// (and cipher), as fdt_find_regions walks them, the end token, and the strings.
func (f *fit) signedExtents(conf, sig *fdt.Node, images []*fdt.Node) ([]attest.Extent, error) {
	listed := map[*fdt.Node]bool{f.tree.Root: true, conf: true}
	for _, image := range images {
		listed[image] = true
		for _, c := range image.Children {
			if strings.HasPrefix(c.Name, "hash") || strings.HasPrefix(c.Name, "cipher") {
				listed[c] = true
			}
		}
	}
	w := regionWalk{listed: listed}
	w.node(f.tree.Root, 0)
	w.add(f.tree.EndToken, f.tree.EndToken+4)
	for i := range w.out {
		w.out[i].Offset += int64(f.tree.Header.StructOffset)
	}
	span, err := f.value(sig, "hashed-strings")
	if err != nil || len(span) != 8 {
		return nil, errors.New("the signature does not say how many strings it signs")
	}
	n := int64(uint32(span[4])<<24 | uint32(span[5])<<16 | uint32(span[6])<<8 | uint32(span[7]))
	if n > int64(f.tree.Header.StringsSize) {
		return nil, fmt.Errorf("the signature speaks for %d bytes of strings, and there are %d", n, f.tree.Header.StringsSize)
	}
	return append(w.out, attest.Extent{Offset: int64(f.tree.Header.StringsOffset), Size: n}), nil
}

// regionWalk collects extents of the structure block: all of a listed node but
// its excluded properties, and of an unlisted child of a listed node only the
// tokens that open and close it. want is 2 inside a listed node, 1 in such a
// child and 0 elsewhere.
type regionWalk struct {
	listed map[*fdt.Node]bool
	out    []attest.Extent
}

func (w *regionWalk) node(n *fdt.Node, outer int) {
	want := max(outer-1, 0)
	if w.listed[n] {
		want = 2
	}
	if want > 0 {
		w.add(n.Begin, n.Body)
	}
	pos := n.Body
	skipTo := func(at int64) { // what lies between is NOP tokens
		if want == 2 {
			w.add(pos, at)
		}
	}
	for i := range n.Properties {
		p := &n.Properties[i]
		skipTo(p.Token)
		if want == 2 && !slices.Contains(fitExcluded, p.Name) {
			w.add(p.Token, p.End())
		}
		pos = p.End()
	}
	for _, c := range n.Children {
		skipTo(c.Begin)
		w.node(c, want)
		pos = c.End + 4
	}
	skipTo(n.End)
	if want > 0 {
		w.add(n.End, n.End+4)
	}
}

func (w *regionWalk) add(from, to int64) {
	if from >= to {
		return
	}
	if k := len(w.out); k > 0 && w.out[k-1].Offset+w.out[k-1].Size == from {
		w.out[k-1].Size += to - from
		return
	}
	w.out = append(w.out, attest.Extent{Offset: from, Size: to - from})
}

func (f *fit) value(n *fdt.Node, name string) ([]byte, error) {
	p := n.Property(name)
	if p == nil {
		return nil, fmt.Errorf("no %s", name)
	}
	return f.tree.Value(p)
}

// data is where an image's bytes are, from the FIT's start: in the tree, at
// data-position, or at data-offset behind the tree (mkimage -E).
func (f *fit) data(image *fdt.Node) (attest.Extent, error) {
	if p := image.Property("data"); p != nil {
		return attest.Extent{Offset: f.tree.Offset(p.Value), Size: p.Length}, nil
	}
	size, ok := f.tree.Uint(image, "data-size")
	if !ok {
		return attest.Extent{}, errors.New("it has no data")
	}
	at, ok := f.tree.Uint(image, "data-position")
	if !ok {
		if at, ok = f.tree.Uint(image, "data-offset"); !ok {
			return attest.Extent{}, errors.New("it says how much data it has and not where")
		}
		at += (uint64(f.tree.Header.TotalSize) + 3) &^ 3
	}
	if at > uint64(f.size) || size > uint64(f.size)-at {
		return attest.Extent{}, fmt.Errorf("its data, %d bytes at %#x, lies outside the FIT", size, at)
	}
	return attest.Extent{Offset: int64(at), Size: int64(size)}, nil
}

var (
	errHashMismatch = errors.New("its hash does not hold: the data was changed")
	errWeakHash     = errors.New("it has no hash that resists forgery")
)

// checkHashes verifies the image's hashes over its data. At least one must be
// of the SHA-2 family; CRC-32, MD5 and SHA-1 alone do not bind the data to a
// signature.
func (f *fit) checkHashes(image *fdt.Node) error {
	data, err := f.data(image)
	if err != nil {
		return err
	}
	strong := false
	for _, c := range image.Children {
		if !strings.HasPrefix(c.Name, "hash") {
			continue
		}
		h, isStrong := fitHash(f.tree.String(c, "algo"))
		if h == nil {
			continue
		}
		want, err := f.value(c, "value")
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		if _, err := io.Copy(h, io.NewSectionReader(f.r, data.Offset, data.Size)); err != nil {
			return err
		}
		if got := h.Sum(nil); !slices.Equal(got, want) {
			return fmt.Errorf("%w (%s is %s, recorded %s)", errHashMismatch, f.tree.String(c, "algo"), hex.EncodeToString(got), hex.EncodeToString(want))
		}
		strong = strong || isStrong
	}
	if !strong {
		return errWeakHash
	}
	return nil
}

func fitHash(algo string) (h hash.Hash, strong bool) {
	switch algo {
	case "sha1":
		return sha1.New(), false
	case "sha256":
		return sha256.New(), true
	case "sha384":
		return sha512.New384(), true
	case "sha512":
		return sha512.New(), true
	}
	return nil, false
}

type fitAlgorithm struct {
	hash    crypto.Hash
	family  string // "rsa" or "ecdsa"
	padding string // "pss" or empty
}

func parseFITAlgorithm(algo, padding string) (fitAlgorithm, error) {
	digest, key, ok := strings.Cut(algo, ",")
	if !ok {
		return fitAlgorithm{}, fmt.Errorf("algorithm %q is not hash,key", algo)
	}
	var a fitAlgorithm
	switch digest {
	case "sha256":
		a.hash = crypto.SHA256
	case "sha384":
		a.hash = crypto.SHA384
	case "sha512":
		a.hash = crypto.SHA512
	default:
		return fitAlgorithm{}, fmt.Errorf("a signature over %s does not resist forgery and was not checked", digest)
	}
	switch {
	case strings.HasPrefix(key, "rsa"):
		a.family = "rsa"
	case strings.HasPrefix(key, "ecdsa"), strings.HasPrefix(key, "secp"):
		a.family = "ecdsa"
	default:
		return fitAlgorithm{}, fmt.Errorf("key type %q is not known", key)
	}
	switch padding {
	case "", "pkcs-1.5":
	case "pss":
		a.padding = "pss"
	default:
		return fitAlgorithm{}, fmt.Errorf("padding %q is not known", padding)
	}
	return a, nil
}

func (a fitAlgorithm) verify(key crypto.PublicKey, sig []byte, message func() io.Reader) error {
	var v signature.Verifier
	var err error
	switch k := key.(type) {
	case *rsa.PublicKey:
		if a.family != "rsa" {
			return errors.New("the key is of another kind")
		}
		if a.padding == "pss" {
			v, err = signature.LoadRSAPSSVerifier(k, a.hash, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: a.hash})
		} else {
			v, err = signature.LoadRSAPKCS1v15Verifier(k, a.hash)
		}
	case *ecdsa.PublicKey:
		if a.family != "ecdsa" {
			return errors.New("the key is of another kind")
		}
		// U-Boot stores r and s side by side (lib/ecdsa), the verifier takes DER.
		if sig, err = derSignature(sig, k); err == nil {
			v, err = signature.LoadECDSAVerifier(k, a.hash)
		}
	default:
		return errors.New("the key is of another kind")
	}
	if err != nil {
		return err
	}
	return v.VerifySignature(strings.NewReader(string(sig)), message(), options.NoOpOptionImpl{})
}

func derSignature(raw []byte, k *ecdsa.PublicKey) ([]byte, error) {
	n := (k.Curve.Params().BitSize + 7) / 8
	if len(raw) != 2*n {
		return nil, fmt.Errorf("a signature of %d bytes, want %d", len(raw), 2*n)
	}
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:n]), new(big.Int).SetBytes(raw[n:])})
}

func names(nodes []*fdt.Node) string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.Name)
	}
	return strings.Join(out, ", ")
}
