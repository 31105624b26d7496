package compress_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"assay/firmware/budget"
	"assay/firmware/compress"
)

func rawReader(m compress.Method, props, packed []byte, size int64, l budget.Limits) (*compress.Reader, error) {
	return compress.NewRawReader(context.Background(), m, props, bytes.NewReader(packed), int64(len(packed)), size, budget.New(l))
}

// lzmaRaw is the five bytes of properties that go with xz's preset.
func lzmaRaw(dict uint32) []byte { return binary.LittleEndian.AppendUint32([]byte{0x5d}, dict) }

func TestStreamsWithoutAHeaderUnpackByTheirProperties(t *testing.T) {
	data := sample(700_000)
	for _, c := range []struct {
		name   string
		method compress.Method
		props  []byte
		args   string
		filter uint64
		fprops []byte
	}{
		{"LZMA", compress.LZMA, lzmaRaw(1 << 20), "--lzma1=dict=1MiB", 0, nil},
		{"LZMA2", compress.LZMA2, []byte{16}, "--lzma2=dict=1MiB", 0, nil},
		{"LZMA2 in a small dictionary", compress.LZMA2, []byte{0}, "--lzma2=dict=4KiB", 0, nil},
		{"x86", compress.LZMA2, []byte{16}, "--x86 --lzma2=dict=1MiB", 4, nil},
		{"PowerPC", compress.LZMA, lzmaRaw(1 << 20), "--powerpc --lzma1=dict=1MiB", 5, nil},
		{"ARM from a start", compress.LZMA2, []byte{16}, "--arm=start=4096 --lzma2=dict=1MiB", 7, []byte{0, 16, 0, 0}},
		{"Delta", compress.LZMA2, []byte{16}, "--delta=dist=7 --lzma2=dict=1MiB", 3, []byte{6}},
	} {
		packed := pack(t, data, "xz", "xz-utils", append([]string{"--format=raw", "-c"}, strings.Fields(c.args)...)...)
		for _, size := range []int64{-1, int64(len(data))} {
			z, err := rawReader(c.method, c.props, append(bytes.Clone(packed), "more"...), size, budget.Limits{})
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			var r io.Reader = z
			if c.filter != 0 {
				if r, err = compress.Unfilter(c.filter, c.fprops, z); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, data) || z.Consumed() != int64(len(packed)) {
				t.Errorf("%s of %d: %d bytes, %d of %d packed, %v", c.name, size, len(got), z.Consumed(), len(packed), err)
			}
			z.Close()
		}
		for _, cut := range []int{0, 1, 6, len(packed) / 2, len(packed) - 1} {
			z, err := rawReader(c.method, c.props, packed[:cut], -1, budget.Limits{})
			if err == nil {
				_, err = io.Copy(io.Discard, z)
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s, cut at %d: %v", c.name, cut, err)
			}
		}
	}
}

func TestPropertiesThatThereAreNotAreRefused(t *testing.T) {
	packed := make([]byte, 100)
	for name, c := range map[string]struct {
		method compress.Method
		props  []byte
		size   int64
		want   string
	}{
		"none":                      {compress.LZMA, nil, -1, "no such properties"},
		"LZMA of 225":               {compress.LZMA, []byte{225, 0, 0, 1, 0}, -1, "no such properties"},
		"LZMA of 4 GiB":             {compress.LZMA, []byte{0x5d, 255, 255, 255, 255}, 1 << 40, "larger than"},
		"LZMA2 of 41":               {compress.LZMA2, []byte{41}, -1, "no such properties"},
		"LZMA2 of 4 GiB":            {compress.LZMA2, []byte{40}, -1, "larger than"},
		"stored bytes that have it": {compress.None, []byte{1}, -1, "no such properties"},
	} {
		if _, err := rawReader(c.method, c.props, packed, c.size, budget.Limits{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for id, props := range map[uint64][]byte{3: nil, 4: {1}, 5: {1, 0, 0, 0}, 99: nil, 0x21: {1}} {
		if _, err := compress.Unfilter(id, props, bytes.NewReader(nil)); err == nil {
			t.Errorf("filter %#x with properties %x is none", id, props)
		}
	}
}

func FuzzRaw(f *testing.F) {
	data := sample(3000)
	f.Add(byte(0x21), []byte{0}, pack(f, data, "xz", "xz-utils", "--format=raw", "-c", "--lzma2=dict=4KiB"), int64(3000))
	f.Add(byte(1), lzmaRaw(4096), pack(f, data, "xz", "xz-utils", "--format=raw", "-c", "--lzma1=dict=4KiB"), int64(3000))
	f.Add(byte(4), []byte{}, data, int64(3000))
	f.Fuzz(func(t *testing.T, id byte, props, packed []byte, size int64) {
		l := budget.Limits{Bytes: 8 << 20, Held: 8 << 20}
		m := map[byte]compress.Method{0x21: compress.LZMA2, 1: compress.LZMA, 0: compress.None}[id]
		if m == "" {
			r, err := compress.Unfilter(uint64(id), props, bytes.NewReader(packed))
			if err != nil {
				return
			}
			if got, err := io.ReadAll(r); err != nil || len(got) != len(packed) {
				t.Errorf("%d bytes of %d, %v", len(got), len(packed), err)
			}
			return
		}
		z, err := rawReader(m, props, packed, max(size, -1), l)
		if err != nil {
			return
		}
		defer z.Close()
		if n, err := io.Copy(io.Discard, z); err == nil && size >= 0 && m != compress.None && n != size {
			t.Errorf("%d bytes of %d", n, size)
		}
	})
}
