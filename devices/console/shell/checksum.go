package shell

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"assay/attest"
	"assay/devices/console/readout"
)

// digest is a checksum that the shell can compute of what goes through a pipe.
type digest struct {
	readout.Checksum
	pipe  string
	size  int                                     // bytes of it
	parse func(b []byte, n int64) ([]byte, error) // of an answer about n bytes
}

// digests in the order of how much they tell.
var (
	bySHA256 = digest{readout.Checksum{Name: "sha256", Of: func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }}, "|sha256sum", sha256.Size, hexDigest(sha256.Size)}
	byMD5    = digest{readout.Checksum{Name: "md5", Of: func(b []byte) []byte { s := md5.Sum(b); return s[:] }}, "|md5sum", md5.Size, hexDigest(md5.Size)}
	// Where there is no applet for it, gzip computes a CRC-32 and ends in it.
	byCRC32 = digest{readout.CRC32, packPipe + "|tail -c 8", 4, gzipEnd}
)

// digest is the best that this shell has; its pipe is empty where it has none.
func (p *Prompt) digest() digest {
	f := p.can.form()
	switch {
	case p.can.sha256:
		return bySHA256
	case p.can.md5:
		return byMD5
	case p.can.tail && f.packed:
		d := byCRC32
		if f.armour != nil {
			d.pipe += f.armour.pipe
		}
		return d
	}
	return digest{}
}

// hexDigest reads "DIGEST  -".
func hexDigest(size int) func([]byte, int64) ([]byte, error) {
	return func(b []byte, _ int64) ([]byte, error) {
		text, ok := strings.CutSuffix(strings.TrimSpace(string(b)), "  -")
		if !ok || len(text) != 2*size {
			return nil, fmt.Errorf("%w: no checksum in %q", errFrame, clip(printable(string(b))))
		}
		sum, err := hex.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errFrame, err)
		}
		return sum, nil
	}
}

// gzipEnd reads the last eight bytes of gzip (RFC 1952 section 2.3.1): CRC-32 and
// length, both with the low byte first.
func gzipEnd(b []byte, n int64) ([]byte, error) {
	if len(b) != 8 {
		return nil, fmt.Errorf("%w: %d bytes where gzip's end has 8", errFrame, len(b))
	}
	if got := binary.LittleEndian.Uint32(b[4:]); got != uint32(n) {
		return nil, errShort{int(got), int(n)}
	}
	return binary.BigEndian.AppendUint32(nil, binary.LittleEndian.Uint32(b)), nil
}

// Checksum implements [readout.Source].
func (s *source) Checksum() readout.Checksum { return s.p.digest().Checksum }

// fits reports whether the command for one range can be typed: it names each
// device that the range lies behind.
func fits(j job, d digest) bool {
	r, _ := sumRequest([]job{j}, d)
	return !slices.ContainsFunc(r.layOut(newToken()), func(line string) bool { return len(line) > typedMax })
}

// sumTries is how often a checksum is asked for.
const sumTries = 6

// Sums implements [readout.Source]. The checksum of nothing, as a pipe gives it
// when its device cannot be read, is an error.
func (s *source) Sums(ctx context.Context, ranges []attest.Extent, each func(attest.Extent, []byte, error) error) error {
	d := s.p.digest()
	if d.pipe == "" {
		return fmt.Errorf("%s: %w: the shell computes no checksum", s.p.line.Name, errors.ErrUnsupported)
	}
	var queue []job
	next := 0
	for {
		for ; next < len(ranges) && len(queue) < batchMax; next++ {
			j := job{Extent: ranges[next], pieces: s.cutLong(ranges[next])}
			for _, x := range j.pieces {
				if x.whole != nil {
					j.cause = x.whole
				}
			}
			if len(j.pieces) > 1 && j.cause == nil && !fits(j, d) {
				j.cause = fmt.Errorf("%w: %#x+%#x lies behind %d devices, more than one line names", errors.ErrUnsupported, j.Offset, j.Size, len(j.pieces))
			}
			if j.cause == nil && j.Size > 0 {
				queue = append(queue, j)
			} else if err := each(j.Extent, nil, j.cause); err != nil {
				return err
			}
		}
		if len(queue) == 0 {
			return nil
		}
		n := len(queue)
		r, byTag := sumRequest(queue, d)
		for n > 1 && len(r.layOut(newToken())) > batchLines {
			n = (n + 1) / 2
			r, byTag = sumRequest(queue[:n], d)
		}
		done := make([]bool, n)
		var stop error
		r.each = func(fr frame) error {
			i, ok := byTag[fr.tag]
			if !ok || done[i] {
				return nil
			}
			sum, err := s.sum(d, fr, queue[i].Size)
			if err != nil {
				queue[i].cause = err
				return nil
			}
			done[i] = true
			stop = each(queue[i].Extent, sum, nil)
			return stop
		}
		_, err := s.p.ask(ctx, r)
		if stop != nil {
			return stop
		}
		if err != nil && !errors.Is(err, errGarbled) {
			return err
		}
		var again []job
		for i, j := range queue[:n] {
			if done[i] {
				continue
			}
			if j.tries++; j.tries < sumTries {
				again = append(again, j)
				continue
			}
			if j.cause == nil {
				j.cause = errGarbled
			}
			if err := each(j.Extent, nil, fmt.Errorf("%s at %#x: no checksum after %d tries: %w", s.chip.Name, j.Offset, j.tries, j.cause)); err != nil {
				return err
			}
		}
		queue = append(again, queue[n:]...)
	}
}

// sum reads one checksum.
func (s *source) sum(d digest, fr frame, n int64) ([]byte, error) {
	b := fr.raw
	if fr.crlf {
		b = withoutCR(b)
	}
	if a := s.p.can.form().armour; a != nil && d.size == 4 {
		var err error
		if b, err = a.decode(b); err != nil {
			return nil, err
		}
	}
	sum, err := d.parse(b, n)
	if err == nil && bytes.Equal(sum, d.Of(nil)) {
		return nil, errShort{0, int(n)}
	}
	return sum, err
}

// job is a range whose checksum is wanted.
type job struct {
	attest.Extent
	pieces []piece
	tries  int
	cause  error
}

// sumRequest asks for the checksum of each range. byTag are the ranges' places by
// the tags of their frames.
func sumRequest(jobs []job, d digest) (r *request, byTag map[string]int) {
	r, byTag = &request{max: 4 << 10, dump: true}, map[string]int{}
	for i := 0; i < len(jobs); {
		var alone []piece // ranges behind one device each, which can share a loop
		for ; i+len(alone) < len(jobs) && len(jobs[i+len(alone)].pieces) == 1; alone = append(alone, jobs[i+len(alone)].pieces[0]) {
		}
		if len(alone) == 0 {
			tag := fmt.Sprintf("%d.m", i)
			r.add(tag, joined(jobs[i].pieces)+d.pipe+";")
			byTag[tag] = i
			i++
			continue
		}
		for _, g := range groups(alone) {
			skips, at := "", i
			for _, x := range g {
				skips += fmt.Sprintf(" %d", x.skip)
				byTag[fmt.Sprintf("%d.%d", at, x.skip)] = i
				i++
			}
			r.atoms = append(r.atoms, "for i in"+skips+";do "+mark(fmt.Sprintf("%d.$i", at))+g[0].ddFrom("$i")+" 2>/dev/null"+d.pipe+";done;")
			r.frames += len(g)
		}
	}
	return r, byTag
}

// cutLong makes pieces of a range, one for each device that it lies behind.
func (s *source) cutLong(r attest.Extent) []piece {
	var all []piece
	for at, stop := r.Offset, r.Offset+r.Size; at < stop; {
		n, seg, none := s.run(at, stop-at)
		if none != nil {
			return []piece{{Extent: attest.Extent{Offset: at, Size: n}, whole: none}}
		}
		from := seg.from + at - seg.at
		bs := int64(blockSize)
		for bs > 1 && (from%bs != 0 || n%bs != 0) {
			bs /= 2
		}
		all = append(all, piece{Extent: attest.Extent{Offset: at, Size: n}, device: seg.device, bs: bs, skip: from / bs, count: n / bs, left: n})
		at += n
	}
	return all
}
