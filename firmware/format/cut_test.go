package format_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"assay/firmware"
	_ "assay/firmware/format"
)

func TestATreeThatWasCutOffSaysSo(t *testing.T) {
	f, err := os.Open("../../testdata/demo/vendor-signed.bin.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	flash, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{330_000, 400_000, 484_000} {
		img, err := firmware.Open(context.Background(), bytes.NewReader(flash[:size]), int64(size))
		if err != nil {
			t.Fatal(err)
		}
		last := img.Regions[len(img.Regions)-1]
		if last.Offset != 0x50000 || last.State != firmware.Opaque || len(last.Problems) == 0 || !strings.Contains(last.Problems[0], "cut short") {
			t.Errorf("cut at %d: %+v", size, last)
		}
	}
}
