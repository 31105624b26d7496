package compress

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// trial unpacks the beginning of what may be DEFLATE data.
type trial struct {
	in  bytes.Reader
	z   io.ReadCloser
	out [2 << 10]byte
}

var trials = sync.Pool{New: func() any {
	t := &trial{}
	t.z = flate.NewReader(&t.in)
	return t
}}

// MayInflate tells cheaply whether p begins with DEFLATE data (RFC 1951), as far
// as its first 2 KiB unpacked can tell. Other bytes fail within a few symbols,
// except in blocks with the fixed codes, of which nearly every bit string is one:
// encoders choose these for little data only, so that such a stream must end
// here. Where p ends before that, what did not fail may be.
func MayInflate(p []byte) (ok bool) {
	t := trials.Get().(*trial)
	defer trials.Put(t)
	t.in.Reset(p)
	if len(p) == 0 || t.z.(flate.Resetter).Reset(&t.in, nil) != nil {
		return false
	}
	var err error
	defer guard(&err)
	n := 0
	for n < len(t.out) && err == nil {
		var c int
		c, err = t.z.Read(t.out[n:])
		n += c
	}
	const fixedCodes = 1
	if p[0]>>1&3 == fixedCodes {
		return err == io.EOF
	}
	return err == nil || n > 0 && (err == io.EOF || err == io.ErrUnexpectedEOF)
}
