package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestWriteReplacesAFileOrLeavesItAsItWas(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		if err := MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "file")
	for _, text := range []string{"first", "second"} {
		if err := Write(path, 0o600, Bytes([]byte(text))); err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(path); string(b) != text {
			t.Errorf("%q", b)
		}
	}
	if s, _ := os.Stat(path); runtime.GOOS != "windows" && s.Mode() != 0o600 {
		t.Error(s.Mode())
	}
	errFill := errors.New("cable came off")
	err := Write(path, 0o600, func(w io.Writer) error {
		io.WriteString(w, "half")
		return errFill
	})
	if !errors.Is(err, errFill) {
		t.Error(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "second" {
		t.Errorf("%q", b)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := Create(path, 0o600, Bytes([]byte("first"))); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, 0o600, Bytes([]byte("second"))); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	// Another program may create the file while ours is being filled.
	late := filepath.Join(dir, "late")
	err := Create(late, 0o600, func(io.Writer) error { return os.WriteFile(late, []byte("theirs"), 0o600) })
	if b, _ := os.ReadFile(late); !errors.Is(err, fs.ErrExist) || string(b) != "theirs" {
		t.Errorf("%v, %q", err, b)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestAFileIsNoFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := Write(path, 0o600, Bytes(nil)); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(path, 0o700); err == nil {
		t.Error("made")
	}
	if err := MkdirAll(filepath.Join(path, "below"), 0o700); err == nil {
		t.Error("made below")
	}
}
