package format_test

import (
	"testing"

	"assay/firmware/internal/formattest"
)

func FuzzUImage(f *testing.F)      { fuzz(f, "uimage") }
func FuzzDeviceTree(f *testing.F)  { fuzz(f, "fdt") }
func FuzzFIT(f *testing.F)         { fuzz(f, "fit") }
func FuzzARM64Image(f *testing.F)  { fuzz(f, "linux-arm64") }
func FuzzZImage(f *testing.F)      { fuzz(f, "linux-zimage") }
func FuzzKernel(f *testing.F)      { fuzz(f, "linux") }
func FuzzGzip(f *testing.F)        { fuzz(f, "gzip") }
func FuzzXZ(f *testing.F)          { fuzz(f, "xz") }
func FuzzLZMA(f *testing.F)        { fuzz(f, "lzma") }
func FuzzBzip2(f *testing.F)       { fuzz(f, "bzip2") }
func FuzzZstd(f *testing.F)        { fuzz(f, "zstd") }
func FuzzLZ4(f *testing.F)         { fuzz(f, "lz4") }
func FuzzLZ4Legacy(f *testing.F)   { fuzz(f, "lz4-legacy") }
func FuzzLzop(f *testing.F)        { fuzz(f, "lzo") }
func FuzzEnvironment(f *testing.F) { fuzz(f, "u-boot-env") }
func FuzzUBoot(f *testing.F)       { fuzz(f, "u-boot") }
func FuzzUBI(f *testing.F)         { fuzz(f, "ubi") }
func FuzzTRX(f *testing.F)         { fuzz(f, "trx") }
func FuzzGPT(f *testing.F)         { fuzz(f, "gpt") }
func FuzzMBR(f *testing.F)         { fuzz(f, "mbr") }

func fuzz(f *testing.F, name string) { formattest.Fuzz(f, samples[name].Make) }
