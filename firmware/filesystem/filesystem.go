// Package filesystem reads the file systems and archives found in firmware as
// fs.FS, one file or a few a format, and registers them as formats of package
// firmware:
//
//   - SquashFS 1 to 4 in both byte orders; the kernel's Documentation/filesystems/squashfs.rst
//     and squashfs-tools 4.5.1, squashfs_fs.h and squashfs_compat.h
//   - cpio newc, crc, odc and old binary; cpio(5) of libarchive and the kernel's
//     Documentation/driver-api/early-userspace/buffer-format.rst
//   - JFFS2 in both byte orders; the kernel's include/uapi/linux/jffs2.h and fs/jffs2
//   - CramFS in both byte orders; the kernel's include/uapi/linux/cramfs_fs.h
//   - ROMFS; the kernel's Documentation/filesystems/romfs.rst
//   - YAFFS2 with tags out of band, in the pages or lost; its yaffs_guts.h and yaffs_packedtags2.h
//   - zip, 7z, tar and ar; PKWARE's APPNOTE, 7-Zip's 7zFormat.txt, POSIX pax with GNU tar's manual, ar(5)
//   - UBIFS with its journal; the kernel's fs/ubifs/ubifs-media.h
//   - ext2, ext3 and ext4; the kernel's Documentation/filesystems/ext4 and e2fsprogs
//   - FAT12, FAT16 and FAT32 with long names; Microsoft's fatgen103 and the kernel's fs/fat
//   - EROFS; the kernel's fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst
//   - MINIX 1, 2 and 3 in both byte orders; the kernel's fs/minix
//
// F2FS and exFAT are recognised and described, but their files are not read.
//
// A file system is only read. Its names are data: they never become a path of
// this machine, and a symbolic link leads to a place in the same file system or
// to none. Device nodes, fifos and sockets are described and open as empty.
package filesystem

import (
	"errors"
	"io/fs"
	"time"
)

// Inode is what a file system says about one file. It is what Sys of a
// [fs.FileInfo] returns, as *Inode. All of it is the image's claim.
type Inode struct {
	Number       uint64 // 0 for a directory that an archive implies without listing it
	Mode         uint32 // file type and permissions, as st_mode has them
	UID, GID     uint32
	Links        uint32
	Major, Minor uint32 // of a device node
	Size         int64  // bytes of a file, bytes of a symbolic link's target, 0 of others
	ModTime      time.Time
	XAttrs       bool // extended attributes (capabilities, labels) are there

	xattrs interface{ readXattrs() ([]XAttr, error) }
}

// File types in Inode.Mode: POSIX, sys/stat.h.
const (
	typeMask   = 0o170000
	typeFIFO   = 0o010000
	typeChar   = 0o020000
	typeDir    = 0o040000
	typeBlock  = 0o060000
	typeFile   = 0o100000
	typeLink   = 0o120000
	typeSocket = 0o140000
)

// FileMode translates Mode.
func (i *Inode) FileMode() fs.FileMode {
	m := fs.FileMode(i.Mode & 0o777)
	switch i.Mode & typeMask {
	case typeDir:
		m |= fs.ModeDir
	case typeLink:
		m |= fs.ModeSymlink
	case typeChar:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case typeBlock:
		m |= fs.ModeDevice
	case typeFIFO:
		m |= fs.ModeNamedPipe
	case typeSocket:
		m |= fs.ModeSocket
	case typeFile:
	default:
		m |= fs.ModeIrregular
	}
	for bit, mode := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if i.Mode&bit != 0 {
			m |= mode
		}
	}
	return m
}

// XAttr is an extended attribute: "security.capability" and its like.
type XAttr struct {
	Name  string
	Value []byte
}

// ErrXAttrs says that a file has extended attributes which are not read, as with
// all file systems but SquashFS.
var ErrXAttrs = errors.New("extended attributes of this file system are not read")

// ReadXAttrs returns the file's extended attributes, in the order that they are
// stored in.
func (i *Inode) ReadXAttrs() ([]XAttr, error) {
	switch {
	case i.xattrs != nil:
		return i.xattrs.readXattrs()
	case i.XAttrs:
		return nil, ErrXAttrs
	}
	return nil, nil
}

func (i *Inode) is(kind uint32) bool { return i.Mode&typeMask == kind }

// info is an inode under one of its names.
type info struct {
	name string
	*Inode
	id uint64
}

// infoOf describes a node. Where a file is, and not what number it claims to
// have, tells its further names from other files.
func infoOf(name string, n node) info {
	if placed, ok := n.(interface{ id() uint64 }); ok {
		return info{name, n.inode(), placed.id()}
	}
	return info{name, n.inode(), n.inode().Number}
}

// FileID is the same for all names of one file and for no other file of its
// file system.
func (i info) FileID() uint64 { return i.id }

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.Inode.Size }
func (i info) Mode() fs.FileMode  { return i.FileMode() }
func (i info) ModTime() time.Time { return i.Inode.ModTime }
func (i info) IsDir() bool        { return i.is(typeDir) }
func (i info) Sys() any           { return i.Inode }
