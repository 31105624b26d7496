package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// Windows file attributes, and what p7zip and 7-Zip for Linux put there: a bit
// that says that the upper half is st_mode.
const (
	sevenReadOnly  = 0x1
	sevenDirectory = 0x10
	sevenUnixMode  = 0x8000
)

// mode is st_mode, made up from the rest where there is none.
func (m *sevenMember) mode() uint32 {
	kind, perm := uint32(typeFile), uint32(0o644)
	if m.empty && !m.file {
		kind, perm = typeDir, 0o755
	}
	if !m.known {
		return kind | perm
	}
	if m.attributes&sevenUnixMode == 0 {
		if m.attributes&sevenReadOnly != 0 {
			perm &^= 0o222
		}
		return kind | perm
	}
	mode := m.attributes >> 16
	switch own := mode & typeMask; own {
	case typeFIFO, typeSocket, typeChar, typeBlock, typeLink:
		if kind != typeDir {
			kind = own
		}
	}
	return kind | mode&0o7777
}

// members pairs the files with what the folders unpack to, in the order of the
// header, reads each folder once and puts the files into the tree.
func (f *SevenZip) members(ctx context.Context, s *sevenStreams, files []sevenMember) error {
	folder, sub := 0, 0
	next := func() bool {
		for folder < len(s.folders) && sub == len(s.folders[folder].subs) {
			folder, sub = folder+1, 0
		}
		return folder < len(s.folders)
	}
	for i := range s.folders {
		folder := s.folders[i]
		f.Methods[folder.methods]++
		f.Solid = f.Solid || len(folder.subs) > 1
		if len(folder.subs) == 0 {
			f.problem("folder %d has no files and is not read", i)
		}
		if folder.unread == "" && folder.size > f.holdable() && !folder.stored() {
			f.large = max(f.large, folder.size)
		}
	}
	var row []*sevenFile // of the current folder
	for i := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		m := &files[i]
		if m.name == "" {
			m.name = "content" // as of an archive of one nameless stream
		}
		n := &archiveNode{Inode: Inode{Number: uint64(i) + 1, Mode: m.mode(), Links: 1, ModTime: m.modTime}}
		file := &sevenFile{sevenMember: m, node: n}
		if m.empty {
			if err := f.add(file); err != nil {
				return err
			}
			continue
		}
		if !next() {
			return fmt.Errorf("%w: %d files, and the folders have fewer", errSevenHeader, len(files))
		}
		file.sub = s.folders[folder].subs[sub]
		const held = 64
		if err := f.archive.meter.Hold(held); err != nil {
			return err
		}
		row = append(row, file)
		if sub++; sub == len(s.folders[folder].subs) {
			if err := f.folder(ctx, s.folders[folder], row); err != nil {
				return err
			}
			row = row[:0]
		}
	}
	if len(row) > 0 || next() {
		f.problem("the folders have more files than the %d that are listed", len(files))
	}
	for _, file := range row {
		file.node.data = func() (io.ReaderAt, io.Closer, error) { return nil, nil, errors.New("its folder was not read") }
		if err := f.add(file); err != nil {
			return err
		}
	}
	return nil
}

// sevenFile is a file on its way into the tree.
type sevenFile struct {
	*sevenMember
	node *archiveNode
	sub  sevenSub
	kept []byte // of a symbolic link
}

func (f *SevenZip) add(file *sevenFile) error {
	if file.anti {
		f.Anti = append(f.Anti, file.name)
		return nil
	}
	return f.archive.add(file.name, file.node)
}

// folder reads a folder and lists its files.
func (f *SevenZip) folder(ctx context.Context, folder *sevenFolder, row []*sevenFile) error {
	switch {
	case folder.fault != nil:
		f.Unread["damaged"] += len(row)
	case folder.unread != "":
		f.Unread[folder.unread] += len(row)
	default:
		if err := f.prove(ctx, folder, row); err != nil && (ctx.Err() != nil || !f.archive.affords(err)) {
			return err
		}
	}
	for _, file := range row {
		sub := file.sub
		n := file.node
		switch n.Mode & typeMask {
		case typeFile:
			n.Size = sub.size
			n.data = func() (io.ReaderAt, io.Closer, error) { return f.contents(folder, sub) }
			if !file.anti {
				folder.open.files++
				if err := f.placed(folder, file.name, sub); err != nil {
					return err
				}
			}
		case typeLink:
			n.Size = sub.size
			if folder.unread == "" && folder.fault == nil {
				n.r, n.Size = bytes.NewReader(file.kept), int64(len(file.kept))
			}
		}
		if err := f.add(file); err != nil {
			return err
		}
	}
	folder.open.left = folder.open.files
	return nil
}

// prove reads a folder to its end for the CRC-32 of its files. The error is of
// the budget, the context or the reader.
func (f *SevenZip) prove(ctx context.Context, folder *sevenFolder, row []*sevenFile) error {
	bad := func(file *sevenFile, format string, args ...any) {
		f.BadSums++
		f.problem("%q: %s", file.name, fmt.Sprintf(format, args...))
	}
	f.Summed += len(row)
	s, err := folder.stream(ctx, f.r, f.archive.meter)
	if err != nil {
		f.damaged(len(row) - 1)
		bad(row[0], "%v", err)
		return onlyFatal(ctx, err)
	}
	defer s.Close()
	buf := make([]byte, 32<<10)
	whole := crc32.NewIEEE()
	for i, file := range row {
		sum := crc32.NewIEEE()
		out := io.MultiWriter(sum, whole)
		var target bytes.Buffer
		if file.node.is(typeLink) && file.sub.size <= maxTarget {
			if err := f.archive.meter.Hold(file.sub.size); err != nil {
				return err
			}
			out = io.MultiWriter(sum, whole, &target)
		}
		n, err := copyExactly(ctx, out, s, file.sub.size, buf)
		file.kept = target.Bytes()
		if err != nil {
			f.damaged(len(row) - i - 1)
			bad(file, "unpacking ended after %d of %d bytes: %v", n, file.sub.size, err)
			return onlyFatal(ctx, err)
		}
		switch known := file.sub.sum; {
		case !known.known && !folder.sum.known:
			f.Summed--
			f.NoSums++
		case known.known && known.crc != sum.Sum32():
			bad(file, "its CRC-32 is %08x, the archive says %08x", sum.Sum32(), known.crc)
		}
	}
	last := row[len(row)-1]
	if n, err := copyExactly(ctx, whole, s, 1, buf); fatal(ctx, err) {
		return err
	} else if n > 0 {
		bad(last, "its folder unpacks to more than the %d bytes of its files", last.sub.at+last.sub.size)
	} else if err != io.ErrUnexpectedEOF {
		f.problem("%q: the end of its folder: %v", last.name, err)
	} else if left := s.left(folder.packs[0].size); left > 0 {
		f.problem("%q: %d bytes stand behind the end of its folder's data", last.name, left)
	}
	if folder.sum.known && folder.sum.crc != whole.Sum32() && len(row) > 1 {
		f.problem("%q: the CRC-32 of its folder is %08x, the archive says %08x", last.name, whole.Sum32(), folder.sum.crc)
	}
	return f.provePacked(ctx, folder, buf)
}

// damaged is for files behind one that breaks off.
func (f *SevenZip) damaged(n int) {
	if f.Summed -= n; n > 0 {
		f.Unread["damaged"] += n
	}
}

// provePacked is for packed streams that have a CRC-32 of their own.
func (f *SevenZip) provePacked(ctx context.Context, folder *sevenFolder, buf []byte) error {
	for _, p := range folder.packs {
		if !p.sum.known {
			continue
		}
		sum := crc32.NewIEEE()
		if _, err := copyExactly(ctx, sum, io.NewSectionReader(f.r, p.at, p.size), p.size, buf); err != nil {
			return err
		}
		if sum.Sum32() != p.sum.crc {
			f.problem("the packed stream at %#x has CRC-32 %08x, the archive says %08x", p.at, sum.Sum32(), p.sum.crc)
		}
	}
	return nil
}

// copyExactly copies n bytes; io.ErrUnexpectedEOF, and only that, says that there
// are fewer.
func copyExactly(ctx context.Context, w io.Writer, r io.Reader, n int64, buf []byte) (done int64, err error) {
	for done < n {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		k, err := r.Read(buf[:min(n-done, int64(len(buf)))])
		w.Write(buf[:k])
		done += int64(k)
		if err == io.EOF && done < n {
			return done, io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			return done, err
		}
	}
	return done, nil
}

// sevenAgain is how often a folder that is too large to be held is unpacked anew
// for files that are not read in its order.
const sevenAgain = 8

// sevenOpen is a folder that files are read from.
type sevenOpen struct {
	u           *unpacked
	refs        int
	files, left int   // in the tree, and of these not closed yet
	spent       int64 // bytes unpacked, until all files were closed
	wave        *sevenWave
	places      []sevenPlace
	sorted      bool
}

// holdable is how large a folder may be held: beside it, its decoder may need
// as much again.
func (f *SevenZip) holdable() int64 { return f.archive.meter.Limits().Held / 3 }

// stored says whether files lie in the image as they are.
func (f *sevenFolder) stored() bool {
	return f.unread == "" && len(f.coders) == 1 && f.coders[0].id == sevenCopy
}

// contents is what a file opens as.
func (f *SevenZip) contents(folder *sevenFolder, sub sevenSub) (io.ReaderAt, io.Closer, error) {
	switch {
	case folder.fault != nil:
		return nil, nil, folder.fault
	case folder.unread != "":
		return nil, nil, fmt.Errorf("%s: not read", folder.unread)
	case folder.stored():
		p := folder.packs[0]
		return io.NewSectionReader(io.NewSectionReader(f.r, p.at, p.size), sub.at, sub.size), nil, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	o := &folder.open
	if r, closer, err := f.waved(folder, sub); r != nil || err != nil {
		return r, closer, err
	}
	if o.u == nil {
		o.u = &unpacked{size: folder.size, meter: f.archive.meter, refuse: folder.size > f.holdable()}
		o.u.stream = func() (io.ReadCloser, error) { return f.again(folder) }
	}
	f.idle = slices.DeleteFunc(f.idle, func(i *sevenFolder) bool { return i == folder })
	if f.idleCost() > f.holdable() {
		f.dropIdle()
	}
	o.refs++
	return io.NewSectionReader(o.u, sub.at, sub.size), &sevenUse{f, folder}, nil
}

// again unpacks a folder from its start.
func (f *SevenZip) again(folder *sevenFolder) (io.ReadCloser, error) {
	o := &folder.open
	if o.spent/sevenAgain > folder.size {
		return nil, fmt.Errorf("its folder of %d bytes is not held in memory and was unpacked %d times already", folder.size, sevenAgain)
	}
	s, err := folder.stream(context.Background(), f.r, f.archive.meter)
	if err != nil {
		return nil, err
	}
	return &sevenSpending{s, o}, nil
}

// sevenSpending counts what is unpacked, under the lock of the folder's reader.
type sevenSpending struct {
	*sevenStream
	o *sevenOpen
}

func (s *sevenSpending) Read(p []byte) (int, error) {
	n, err := s.sevenStream.Read(p)
	s.o.spent += int64(n)
	return n, err
}

// sevenUse is one open file.
type sevenUse struct {
	f      *SevenZip
	folder *sevenFolder
}

// Close lets go of a folder once all of its files were read. Before that it is
// kept for the next one, or for as long as others are not read instead.
func (u *sevenUse) Close() error {
	f, o := u.f, &u.folder.open
	f.mu.Lock()
	defer f.mu.Unlock()
	o.refs--
	o.left--
	if o.refs > 0 {
		return nil
	}
	if o.left <= 0 {
		f.finish(u.folder)
	}
	if o.u == nil {
		return nil
	}
	if len(f.idle) > 0 && f.idleCost()+u.folder.cost() > f.holdable() {
		f.dropIdle()
	}
	f.idle = append(f.idle, u.folder)
	return nil
}

func (o *sevenOpen) close() {
	o.u.Close()
	o.u = nil
}

// cost is what a folder that is kept takes of memory, about.
func (f *sevenFolder) cost() int64 { return min(f.size, 64<<20) }

func (f *SevenZip) idleCost() (n int64) {
	for _, folder := range f.idle {
		n += folder.cost()
	}
	return n
}

func (f *SevenZip) dropIdle() {
	for _, folder := range f.idle {
		folder.open.close()
	}
	f.idle = nil
}
