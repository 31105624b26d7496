// Package update holds the containers that firmware is delivered in: bundles
// that an update client on the unit takes apart, checks and writes to flash.
// Importing it registers them all with package firmware.
//
// What such a bundle carries to be recomputed (hashes, a hash tree) is
// recomputed. Who signed it is listed as the bundle says it and is not verified
// here: a signature is only worth something beside a trusted key, and an
// encryption layer proves no origin at all.
package update

import (
	"crypto"
	_ "crypto/md5" // the hashes that bundles name
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"fmt"
	"io"

	"assay/firmware"
	"assay/firmware/internal/container"
)

func init() {
	for _, f := range formats {
		firmware.Register(f)
	}
}

var formats = []firmware.Format{
	rauc,
	swupdate,
	mender,
	mcuboot,
	mcubootTrailer,
	matterOTA,
	dlinkSHRS,
	dlinkEncrptedImg,
	dlinkMH01,
	openSSLSalted,
}

var (
	notFormat = container.NotFormat
	printable = container.Printable
)

// notVerified ends every field about a signature.
const notVerified = "not verified here"

// maxListed bounds the fields that one list in an image can cause.
const maxListed = 64

// digest hashes n bytes of the window.
func digest(w *firmware.Window, h crypto.Hash, off, n int64) ([]byte, error) {
	sum := h.New()
	got, err := io.Copy(sum, w.Section(off, n))
	if err != nil {
		return nil, err
	}
	if got != n {
		return nil, fmt.Errorf("%d bytes at %#x are wanted and %d are there", n, off, got)
	}
	return sum.Sum(nil), nil
}

// opaque is a part that cannot be read and says why.
func opaque(w *firmware.Window, off, size int64, name, why string) *firmware.Region {
	r := container.Part(w, off, size, name, firmware.RoleNone)
	if r.Format != "" || len(r.Children) > 0 {
		// Something that is recognised in ciphertext is chance.
		r = &firmware.Region{Offset: w.Offset() + off, Size: size, Name: name}
	}
	if r.State != firmware.Erased {
		r.State = firmware.Opaque
		r.AddField("content", "%s", why)
	}
	return r
}
