package format_test

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"testing"

	"assay/firmware"
	"assay/firmware/budget"
)

// fuzzFormat opens mutations of a format's sample. Whatever they are, the
// analysis ends within its budget and the image adds up.
func fuzzFormat(f *testing.F, name string) {
	f.Add([]byte{})
	if program := map[string]string{"xz": "xz", "lzma": "lzma", "bzip2": "bzip2", "zstd": "zstd", "lz4": "lz4", "lz4-legacy": "lz4", "lzo": "lzop"}[name]; program != "" {
		if _, err := exec.LookPath(program); err == nil {
			f.Add(samples[name].make(f))
		}
	} else {
		f.Add(samples[name].make(f))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		img, err := firmware.Open(context.Background(), bytes.NewReader(b), int64(len(b)), firmware.WithLimits(small))
		if err != nil && !errors.Is(err, budget.ErrExceeded) {
			t.Fatal(err)
		}
		adds(t, img)
	})
}

func FuzzUImage(f *testing.F)      { fuzzFormat(f, "uimage") }
func FuzzDeviceTree(f *testing.F)  { fuzzFormat(f, "fdt") }
func FuzzFIT(f *testing.F)         { fuzzFormat(f, "fit") }
func FuzzARM64Image(f *testing.F)  { fuzzFormat(f, "linux-arm64") }
func FuzzZImage(f *testing.F)      { fuzzFormat(f, "linux-zimage") }
func FuzzKernel(f *testing.F)      { fuzzFormat(f, "linux") }
func FuzzGzip(f *testing.F)        { fuzzFormat(f, "gzip") }
func FuzzXZ(f *testing.F)          { fuzzFormat(f, "xz") }
func FuzzLZMA(f *testing.F)        { fuzzFormat(f, "lzma") }
func FuzzBzip2(f *testing.F)       { fuzzFormat(f, "bzip2") }
func FuzzZstd(f *testing.F)        { fuzzFormat(f, "zstd") }
func FuzzLZ4(f *testing.F)         { fuzzFormat(f, "lz4") }
func FuzzLZ4Legacy(f *testing.F)   { fuzzFormat(f, "lz4-legacy") }
func FuzzLzop(f *testing.F)        { fuzzFormat(f, "lzo") }
func FuzzEnvironment(f *testing.F) { fuzzFormat(f, "u-boot-env") }
func FuzzUBoot(f *testing.F)       { fuzzFormat(f, "u-boot") }
func FuzzUBI(f *testing.F)         { fuzzFormat(f, "ubi") }
func FuzzTRX(f *testing.F)         { fuzzFormat(f, "trx") }
func FuzzGPT(f *testing.F)         { fuzzFormat(f, "gpt") }
func FuzzMBR(f *testing.F)         { fuzzFormat(f, "mbr") }
