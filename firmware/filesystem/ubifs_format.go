package filesystem

import (
	"context"
	"errors"
	"fmt"
	"path"

	"assay/firmware"
	"assay/firmware/budget"
)

func init() {
	firmware.Register(firmware.Format{
		Name:   "ubifs",
		Source: "Linux fs/ubifs/ubifs-media.h, and replay.c, tnc.c and key.h there; mtd-utils mkfs.ubifs",
		Magics: []firmware.Magic{{Bytes: "\x31\x18\x10\x06"}},
		Parse:  parseUBIFS,

		About:        "file system on UBI volumes",
		Integrity:    "CRC-32 of each node",
		Authenticity: "hashes and an HMAC or signature where it is made with authentication; not verified here",
	})
}

func parseUBIFS(w *firmware.Window) (*firmware.Region, error) {
	u, err := NewUBIFS(w, w.Size(), w.Meter())
	if errors.Is(err, ErrNotUBIFS) {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	if u == nil {
		// Nothing vouches for its size, so what follows is left to the sweep.
		return &firmware.Region{Format: "ubifs", Size: ubifsSuperSize, Problems: []string{err.Error()}}, nil
	}
	r := &firmware.Region{Format: "ubifs", Size: min(u.super.bytes(), w.Size()), State: firmware.Parsed, Role: firmware.RoleData}
	u.describe(r)
	for _, note := range u.notes {
		r.AddProblem("ubifs: %s", note)
	}
	if err != nil {
		r.State = firmware.Opaque
		r.AddProblem("%v", err)
		if fatal(w.Context(), err) {
			return r, err
		}
		return r, nil
	}
	r.FS = u
	survey, nodes, err := u.prove(w.Context())
	survey.describe(r)
	if err != nil {
		r.AddProblem("its index was not walked to its end: %v", err)
		return r, err
	}
	r.AddCheck("CRC-32 of all nodes in the index", len(r.Problems) == 0, "%d nodes and %d entries; LEB properties and orphans are not covered", nodes, survey.total())
	if len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	if looksLikeRoot(u) {
		r.Role = firmware.RoleRootFS
	}
	return r, nil
}

func (u *UBIFS) describe(r *firmware.Region) {
	b := &u.super
	r.AddField("version", "%d", b.version)
	r.AddField("LEB size", "%d", b.lebSize)
	r.AddField("LEBs", "%d of at most %d", b.lebs, b.maxLEBs)
	r.AddField("smallest write", "%d", b.minIO)
	r.AddField("default compressor", "%s", b.compressorName())
	r.AddField("key hash", "%s", map[byte]string{0: "r5", 1: "test"}[b.keyHash])
	r.AddField("flags", "%s", b.flagNames())
	r.AddField("UUID", "%s", b.uuidText())
	r.AddField("commit", "%d", u.master.commit)
	r.AddField("journal", "%s", u.journal())
	if b.flags&ubifsAuthenticated != 0 {
		r.AddField("authentication", "%s, not verified: it needs the unit's key", ubifsHashes[b.hash].name)
	}
	if here := (u.size + int64(b.lebSize) - 1) / int64(b.lebSize); here < int64(b.lebs) {
		r.AddField("LEBs there", "%d", here)
	}
}

// Prove reads every node that the index and the journal have and walks the
// directories from the root: each node's CRC-32 and key are right, names are
// possible and are found by their hashes, each entry leads to an inode of its
// type, link counts are right, and no inode is without a name. Data are not
// unpacked, and extended attributes are counted only.
//
// What is wrong is in the survey's problems, and the walk goes on. The error is
// the context's, or wraps budget.ErrExceeded. Directories that a finished walk
// did not reach cannot be opened afterwards.
func (u *UBIFS) Prove(ctx context.Context) (*Survey, error) {
	survey, _, err := u.prove(ctx)
	return survey, err
}

type ubifsProof struct {
	u      *UBIFS
	ctx    context.Context
	survey *Survey
	names  map[uint32]uint32 // by inode, how many there are
}

func (u *UBIFS) prove(ctx context.Context) (*Survey, int, error) {
	p := &ubifsProof{u: u, ctx: ctx, survey: &Survey{}, names: make(map[uint32]uint32)}
	nodes, encrypted, err := p.nodes()
	if err != nil {
		return p.survey, nodes, err
	}
	root, err := u.inode(ubifsRoot)
	if err == nil {
		err = p.directory(root, ".", 0)
	}
	if fatal(ctx, err) {
		return p.survey, nodes, err
	}
	if err != nil {
		p.survey.problem("%v", err)
	}
	if encrypted > 0 {
		p.survey.problem("the names and contents of %d inodes are encrypted (fscrypt) and not readable", encrypted)
	}
	u.edges.freeze()
	return p.survey, nodes, p.links()
}

// nodes reads all that the index has.
func (p *ubifsProof) nodes() (count, encrypted int, err error) {
	buf := new([]byte)
	for _, l := range p.u.leaves {
		if err := p.ctx.Err(); err != nil {
			return count, encrypted, err
		}
		if err := p.u.meter.Bytes(int64(l.size)); err != nil {
			return count, encrypted, err
		}
		n, err := p.u.readNodeInto(buf, l, l.key.kind())
		if err != nil {
			p.survey.problem("%v", err)
			continue
		}
		count++
		if len(n.data) < 40 || parseUBIFSKey(n.data[ubifsCommon:]) != l.key {
			p.survey.problem("ubifs: %v has another key than the index", l)
			continue
		}
		switch n.kind {
		case ubifsData:
			_, err = ubifsDataBytes(n)
		case ubifsInode:
			var f *ubifsFile
			if f, err = p.u.parseInode(n); err == nil {
				if f.encrypted() {
					encrypted++
				}
				if f.flags&ubifsIsXattr == 0 {
					p.survey.count(&f.Inode)
				}
			}
		case ubifsDent, ubifsXent:
			var d ubifsDirent
			if d, err = parseUBIFSDent(n); err == nil && p.u.hash(d.name) != l.key.low() {
				p.survey.problem("%q: its hash is %#x and its key says %#x: units do not find it", d.name, p.u.hash(d.name), l.key.low())
			}
			if err == nil && n.kind == ubifsXent {
				p.names[d.inode]++
			}
		}
		if err != nil {
			p.survey.problem("%v", err)
		}
	}
	return count, encrypted, nil
}

func (p *ubifsProof) directory(f *ubifsFile, name string, depth int) error {
	if depth > maxNesting {
		p.survey.problem("%s: %v", name, errNesting)
		return nil
	}
	for _, l := range p.u.kindOf(uint32(f.Number), ubifsDent) {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if err := p.u.meter.Entries(1); err != nil {
			return err
		}
		d, err := p.u.dent(l)
		if err != nil {
			continue // a problem already
		}
		own := f.shown(d.name)
		full := path.Join(name, own)
		if !validName(own) {
			p.survey.problem("%s: the name %q is not possible and left out", name, own)
			continue
		}
		p.names[d.inode]++
		c, err := f.child(d.inode, own)
		if errors.Is(err, budget.ErrExceeded) {
			return err
		}
		if err != nil {
			p.survey.problem("%s: %v", full, err)
			continue
		}
		if int(d.kind) >= len(ubifsTypes) || !c.is(ubifsTypes[d.kind]) {
			p.survey.problem("%s: listed as type %d and is inode %d of mode %o", full, d.kind, c.Number, c.Mode)
		}
		if c.is(typeDir) {
			if err := p.directory(c, full, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// links compares the link counts with the names that were met.
func (p *ubifsProof) links() error {
	for _, l := range p.u.leaves {
		if l.key.kind() != ubifsInode || l.key.inode() == ubifsRoot {
			continue
		}
		if err := p.u.meter.Bytes(int64(l.size)); err != nil {
			return err
		}
		f, err := p.u.inode(l.key.inode())
		if err != nil {
			continue // a problem already
		}
		names := p.names[l.key.inode()]
		switch {
		case names == 0 && f.Links > 0:
			p.survey.problem("inode %d of mode %o has no name", f.Number, f.Mode)
		case !f.is(typeDir) && f.Links != names:
			p.survey.problem("inode %d has %d names and counts %d", f.Number, names, f.Links)
		}
	}
	return nil
}
