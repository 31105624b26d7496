package firmware_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"assay/firmware"
	_ "assay/firmware/all"
	"assay/firmware/budget"
)

// update is a flash with an update archive in it, packed, and the rest erased.
func update() []byte {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	archive := tar.NewWriter(z)
	for _, f := range []struct{ name, text string }{{"etc/version", "4.2.1\n"}, {"etc/hostname", "camera\n"}} {
		archive.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.text)), Format: tar.FormatUSTAR})
		io.WriteString(archive, f.text)
	}
	archive.Close()
	z.Close()
	flash := bytes.Repeat([]byte{0xff}, 64<<10)
	copy(flash, packed.Bytes())
	return flash
}

func ExampleOpen() {
	flash := update()
	img, err := firmware.Open(context.Background(), bytes.NewReader(flash), int64(len(flash)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err) // img still holds what was found before
	}
	for _, r := range img.Regions {
		fmt.Printf("%s %q\n", r.State, r.Format)
	}
	fmt.Println(img.Tally()[firmware.Proven]+img.Tally()[firmware.Erased] == img.Size)
	// Output:
	// proven "gzip"
	// erased ""
	// true
}

func ExampleImage_Walk() {
	flash := update()
	img, err := firmware.Open(context.Background(), bytes.NewReader(flash), int64(len(flash)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	img.Walk(func(path []*firmware.Region, holder *firmware.Image, r *firmware.Region) error {
		if r.State != firmware.Erased {
			fmt.Printf("%s%s with %d files\n", strings.Repeat("  ", len(path)), r.Format, len(r.Files))
		}
		return nil
	})
	// Output:
	// gzip with 0 files
	//   tar with 4 files
}

// Every file is read once, at any depth, whatever it is packed in.
func ExampleWithVisitor() {
	flash := update()
	var mu sync.Mutex // files are visited side by side
	found := make(map[string]string)
	_, err := firmware.Open(context.Background(), bytes.NewReader(flash), int64(len(flash)), firmware.WithVisitor(func(v firmware.Visit) {
		text, err := io.ReadAll(io.LimitReader(v.Data, 100))
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		found[v.Where] = string(text)
	}))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	fmt.Printf("%q\n", found["gzip@0x0/tar@0x0/etc/version"])
	// Output: "4.2.1\n"
}

// A bomb ends with the budget, and what was found before is there.
func ExampleWithLimits() {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	z.Write(make([]byte, 16<<20))
	z.Close()
	img, err := firmware.Open(context.Background(), bytes.NewReader(bomb.Bytes()), int64(bomb.Len()), firmware.WithLimits(budget.Limits{Bytes: 4 << 20}))
	fmt.Println(errors.Is(err, budget.ErrExceeded))
	fmt.Println(len(img.Regions), img.Regions[0].Format, img.Regions[0].State)
	// Output:
	// true
	// 1 gzip opaque
}
