// Package durable writes files that are either there whole or not there at
// all, also after a power cut: a temporary file beside the target, synced,
// renamed, and the folder synced (POSIX rename(2) and fsync(2); the order is
// the one that SQLite's atomic commit document describes for its journal).
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Write replaces the file at path with what fill writes. The file at path is
// untouched when fill or anything after it fails.
func Write(path string, mode fs.FileMode, fill func(io.Writer) error) error {
	return write(path, mode, fill, os.Rename)
}

// Create is Write for a file that must not exist yet; otherwise the error is
// [fs.ErrExist].
func Create(path string, mode fs.FileMode, fill func(io.Writer) error) error {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	return write(path, mode, fill, linkNew)
}

// Bytes is a fill function for b.
func Bytes(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

func write(path string, mode fs.FileMode, fill func(io.Writer) error, move func(from, to string) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".assay-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(mode); err != nil && runtime.GOOS != "windows" {
		return err
	}
	if err := fill(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := move(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// linkNew moves a file without replacing another: a hard link fails where a
// rename would overwrite. FAT and some network file systems know no hard
// links; there the check that Create made beforehand has to do.
func linkNew(from, to string) error {
	err := os.Link(from, to)
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	if err != nil {
		return os.Rename(from, to)
	}
	return os.Remove(from)
}

// MkdirAll makes dir and its parents and syncs each folder that got a new
// entry, so that a synced file in it can be found after a power cut.
func MkdirAll(dir string, mode fs.FileMode) error {
	if s, err := os.Stat(dir); err == nil {
		if !s.IsDir() {
			return fmt.Errorf("%s is not a folder", dir)
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirAll(parent, mode); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(parent)
}

// SyncDir makes the entries of a folder durable. Windows has no such call and
// journals its entries itself.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
