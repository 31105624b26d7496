package update

import (
	"bytes"
	"crypto"
	"fmt"
	"io"
)

// The dm-verity hash tree, version 1, without superblock: kernel
// Documentation/admin-guide/device-mapper/verity.rst; cryptsetup
// lib/verity/verity_hash.c.

const verityBlock = 4096

// verityTree is a tree of SHA-256 hashes over data blocks. The level that a
// lone block is in stands first, the one of the data's hashes last.
type verityTree struct {
	salt   []byte
	blocks int64   // of data
	counts []int64 // hash blocks a level, the lowest first
}

const verityFanOut = verityBlock / 32

func newVerityTree(salt []byte, blocks int64) *verityTree {
	t := &verityTree{salt: salt, blocks: blocks}
	for n := blocks; n > 1; {
		n = (n + verityFanOut - 1) / verityFanOut
		t.counts = append(t.counts, n)
	}
	return t
}

// size is the bytes that the stored tree takes.
func (t *verityTree) size() int64 {
	var n int64
	for _, c := range t.counts {
		n += c * verityBlock
	}
	return n
}

// start is where a level begins in the stored tree.
func (t *verityTree) start(level int) int64 {
	var off int64
	for _, c := range t.counts[level+1:] {
		off += c * verityBlock
	}
	return off
}

// verify hashes data from the bottom up. It returns the root hash that the data
// has, and whether each block of the stored tree is what was computed.
func (t *verityTree) verify(data io.Reader, stored io.ReaderAt) (root []byte, same bool, err error) {
	levels := make([][]byte, len(t.counts)) // the block being filled
	written := make([]int64, len(t.counts))
	same = true
	hash := func(block []byte) []byte {
		h := crypto.SHA256.New()
		h.Write(t.salt)
		h.Write(block)
		return h.Sum(nil)
	}
	kept := make([]byte, verityBlock)
	var push func(level int, sum []byte) error
	flush := func(level int) error {
		block := append(levels[level], make([]byte, verityBlock-len(levels[level]))...)
		levels[level] = levels[level][:0]
		if _, err := stored.ReadAt(kept, t.start(level)+written[level]*verityBlock); err != nil && err != io.EOF {
			return fmt.Errorf("hash block %d of level %d: %w", written[level], level, err)
		}
		same = same && bytes.Equal(block, kept)
		written[level]++
		return push(level+1, hash(block))
	}
	push = func(level int, sum []byte) error {
		if level == len(t.counts) {
			root = sum
			return nil
		}
		if levels[level] = append(levels[level], sum...); len(levels[level]) == verityBlock {
			return flush(level)
		}
		return nil
	}
	block := make([]byte, verityBlock)
	for n := range t.blocks {
		if _, err := io.ReadFull(data, block); err != nil {
			return nil, false, fmt.Errorf("data block %d: %w", n, err)
		}
		if err := push(0, hash(block)); err != nil {
			return nil, false, err
		}
	}
	for level := range levels {
		if len(levels[level]) > 0 {
			if err := flush(level); err != nil {
				return nil, false, err
			}
		}
	}
	return root, same, nil
}
