// Package format holds the boot-chain formats of camera firmware, one file a
// format. Importing it registers them all with package firmware.
//
// Each file names where its layout is specified. What a format's checksums and
// hashes prove is integrity; signatures are listed as fields and verified
// elsewhere, because a signature is only worth something beside a trusted key.
package format

import (
	"bytes"
	"io"

	"assay/firmware"
	"assay/firmware/internal/container"
)

func init() {
	for _, f := range formats {
		firmware.Register(f)
	}
}

// formats are in order of belief: where two recognise the same bytes equally
// well (every FIT is a device tree), the earlier one stands.
var formats = []firmware.Format{
	uImage,
	fit,
	deviceTree,
	ikconfig,
	arm64Image,
	riscvImage,
	zImage,
	gzipStream,
	xzStream,
	zstdStream,
	lz4Frame,
	lz4Legacy,
	lzopStream,
	bzip2Stream,
	lzmaStream,
	zlibStream,
	maxLinear,
	environment,
	sigmastarIPL,
	ingenicSPL,
	hisiliconBoot,
	hisiliconGSL,
	novatekBin,
	allwinnerEGON,
	allwinnerTOC0,
	imxIVT,
	ahab,
	rockchipID,
	rockchipNS,
	rockchipLoader,
	ubi,
	trx,
	lzipStream,
	androidSparse,
	androidBoot,
	vendorBoot,
	intelHex,
	sRecord,
	gpt,
	mbr,
	uBoot,
	kernel,
}

// What this package's formats share with those of others.
var (
	notFormat = container.NotFormat
	text      = container.Text
	printable = container.Printable
	part      = container.Part
	known     = container.Known
	covered   = container.Covered
)

// findText looks for the first place in r where literal begins and accept says
// yes to the up to ahead bytes there.
func findText(r *io.SectionReader, literal string, ahead int, accept func([]byte) bool) (off int64, found []byte) {
	const step = 64 << 10
	buf := make([]byte, min(step+int64(ahead), r.Size()))
	for at := int64(0); at < r.Size(); at += step {
		n, err := r.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			return -1, nil
		}
		for pos := 0; pos < min(n, step); pos++ {
			i := bytes.Index(buf[pos:n], []byte(literal))
			if i < 0 || pos+i >= step {
				break
			}
			pos += i
			if b := buf[pos:min(n, pos+ahead)]; accept(b) {
				return at + int64(pos), bytes.Clone(b)
			}
		}
	}
	return -1, nil
}
