package filesystem

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// ubifsReplay puts the journal's nodes over the index. Keys that it touches are
// kept with all their leaves: several, where the hashes of names collide.
type ubifsReplay struct {
	u       *UBIFS
	touched map[uint32]map[uint32][]ubifsLeaf // by the halves of the key
	links   map[uint32]uint32                 // link counts in the newest inode nodes
}

// replay reads the log and the buds (LEBs of the journal) that it refers to, as
// the kernel does when it mounts a file system that was not cleanly unmounted.
func (u *UBIFS) replay() error {
	refs, err := u.readLog()
	if err != nil {
		return err
	}
	var nodes []ubifsNode
	var held int64
	defer func() { u.meter.Release(held) }()
	seen := make(map[uint32]bool)
	for _, ref := range refs {
		if seen[ref.leb] || ref.leb < u.super.firstMain {
			u.note("journal: LEB %d is referred to twice or is not of the main area", ref.leb)
			continue
		}
		seen[ref.leb] = true
		found, end, err := u.scan(ref.leb, ref.offset)
		if err != nil {
			return err
		}
		if end != "" {
			u.note("journal: %s; what follows is not read", end)
		}
		cost := int64(u.super.lebSize) + int64(len(found))*96
		if err := u.meter.Hold(cost); err != nil {
			return err
		}
		held += cost
		nodes = append(nodes, wholeGroups(found)...)
	}
	u.buds = len(seen)
	if u.replayed = len(nodes); u.replayed == 0 {
		return nil
	}
	slices.SortStableFunc(nodes, func(a, b ubifsNode) int {
		switch {
		case a.sequence < b.sequence:
			return -1
		case a.sequence > b.sequence:
			return 1
		}
		return 0
	})
	r := &ubifsReplay{u: u, touched: make(map[uint32]map[uint32][]ubifsLeaf), links: make(map[uint32]uint32)}
	for _, n := range nodes {
		if n.kind == ubifsInode && len(n.data) >= ubifsInodeSize {
			r.links[parseUBIFSKey(n.data[ubifsCommon:]).inode()] = binary.LittleEndian.Uint32(n.data[92:])
		}
	}
	for _, n := range nodes {
		if err := r.apply(n); err != nil {
			return err
		}
	}
	return r.merge()
}

// wholeGroups drops the nodes at a bud's end that were to be written together
// with others that are not there.
func wholeGroups(nodes []ubifsNode) []ubifsNode {
	const inGroup = 1
	for len(nodes) > 0 && nodes[len(nodes)-1].group == inGroup {
		nodes = nodes[:len(nodes)-1]
	}
	return nodes
}

// readLog returns the buds since the last commit.
func (u *UBIFS) readLog() ([]ubifsLeaf, error) {
	le := binary.LittleEndian
	first, count := uint32(ubifsLog), u.super.logLEBs
	if u.master.log < first || u.master.log >= first+count {
		u.note("journal: the log is said to start in LEB %d; what is newer than the last commit is not read", u.master.log)
		return nil, nil
	}
	var refs []ubifsLeaf
	var start uint64
	for i := range count {
		leb := first + (u.master.log-first+i)%count
		nodes, end, err := u.scan(leb, 0)
		if err != nil {
			return nil, err
		}
		if end != "" {
			u.note("log: %s", end)
		}
		if i == 0 {
			if len(nodes) == 0 || nodes[0].kind != ubifsCommit || len(nodes[0].data) < 32 || le.Uint64(nodes[0].data[24:]) != u.master.commit {
				u.note("journal: the log in LEB %d does not start with commit %d; what is newer is not read", leb, u.master.commit)
				return nil, nil
			}
			start = nodes[0].sequence
		}
		if len(nodes) == 0 || nodes[0].sequence < start {
			break // left from before
		}
		for _, n := range nodes {
			if n.kind == ubifsRef && len(n.data) >= 64 {
				refs = append(refs, ubifsLeaf{leb: le.Uint32(n.data[24:]), offset: le.Uint32(n.data[28:])})
			}
		}
	}
	return refs, nil
}

// leaves returns where the leaves of a key are kept.
func (r *ubifsReplay) leaves(k ubifsKey) (map[uint32][]ubifsLeaf, []ubifsLeaf, error) {
	of := r.touched[k.inode()]
	if of == nil {
		of = make(map[uint32][]ubifsLeaf)
		r.touched[k.inode()] = of
	}
	list, ok := of[uint32(k)]
	if !ok {
		const size = 96 // of an entry, about
		if err := r.u.meter.Hold(size); err != nil {
			return nil, nil, err
		}
		list = slices.Clone(r.u.span(k, k+1))
	}
	return of, list, nil
}

func (r *ubifsReplay) apply(n ubifsNode) error {
	le := binary.LittleEndian
	if n.kind == ubifsTrun {
		if len(n.data) < 56 {
			return nil
		}
		from, to := le.Uint64(n.data[48:]), le.Uint64(n.data[40:])
		up := func(size uint64) uint32 { return uint32(min((size+ubifsBlock-1)/ubifsBlock, ubifsHashMask)) }
		inode := le.Uint32(n.data[24:])
		return r.remove(newUBIFSKey(inode, ubifsData, up(min(from, 1<<62))), newUBIFSKey(inode, ubifsData, up(min(to, 1<<62))))
	}
	if n.kind > ubifsXent || len(n.data) < 48 {
		return nil
	}
	k := parseUBIFSKey(n.data[ubifsCommon:])
	n.at.key = k
	if k.kind() != n.kind {
		r.u.note("journal: %v of type %d has a key of type %d", n.at, n.kind, k.kind())
		return nil
	}
	switch n.kind {
	case ubifsInode:
		if len(n.data) < ubifsInodeSize {
			return nil
		}
		// A count of 0 deletes the inode, unless it was linked again later.
		if r.links[k.inode()] == 0 {
			return r.remove(newUBIFSKey(k.inode(), 0, 0), newUBIFSKey(k.inode(), 7, ubifsHashMask))
		}
	case ubifsDent, ubifsXent:
		return r.rename(n, k)
	}
	of, _, err := r.leaves(k)
	if err != nil {
		return err
	}
	of[uint32(k)] = []ubifsLeaf{n.at}
	return nil
}

// rename sets or, with an inode number of 0, removes a name.
func (r *ubifsReplay) rename(n ubifsNode, k ubifsKey) error {
	d, err := parseUBIFSDent(n)
	if err != nil {
		r.u.note("journal: %v", err)
		return nil
	}
	of, list, err := r.leaves(k)
	if err != nil {
		return err
	}
	kept := make([]ubifsLeaf, 0, len(list)+1)
	for _, l := range list {
		if err := r.u.meter.Bytes(int64(l.size)); err != nil {
			return err
		}
		if old, err := r.u.dent(l); err == nil && old.name == d.name {
			continue
		}
		kept = append(kept, l)
	}
	if d.inode != 0 {
		kept = append(kept, n.at)
	}
	of[uint32(k)] = kept
	return nil
}

// remove drops the keys in [from, to), which are of one inode. Each step is
// charged for: a journal can ask for the same again and again.
func (r *ubifsReplay) remove(from, to ubifsKey) error {
	of := r.touched[from.inode()]
	base := r.u.span(from, to)
	if err := r.u.meter.Bytes(8 * int64(len(of)+len(base))); err != nil {
		return err
	}
	for low := range of {
		if k := ubifsKey(from.inode())<<32 | ubifsKey(low); k >= from && k < to {
			of[low] = nil
		}
	}
	for _, l := range base {
		of, _, err := r.leaves(l.key)
		if err != nil {
			return err
		}
		of[uint32(l.key)] = nil
	}
	return nil
}

// merge makes the leaves those of the index and the journal.
func (r *ubifsReplay) merge() error {
	u := r.u
	before := u.leaves
	u.leaves = nil
	for _, l := range before {
		if _, ok := r.touched[l.key.inode()][uint32(l.key)]; ok {
			continue
		}
		if err := u.append(l); err != nil {
			return err
		}
	}
	for _, inode := range slices.Sorted(maps.Keys(r.touched)) {
		for _, list := range r.touched[inode] {
			for _, l := range list {
				if err := u.append(l); err != nil {
					return err
				}
			}
		}
	}
	slices.SortStableFunc(u.leaves, byUBIFSKey)
	return nil
}

// journal says in words what was replayed.
func (u *UBIFS) journal() string {
	state := "cleanly unmounted"
	if u.master.flags&ubifsDirty != 0 {
		state = "not cleanly unmounted"
	}
	return fmt.Sprintf("%s; %d nodes in %d LEBs replayed", state, u.replayed, u.buds)
}
