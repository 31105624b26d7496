package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/tftp"
)

// Upload lets the unit send flash over a network that it is on already, by
// BusyBox's tftp (networking/tftp.c: -l - reads its standard input). Nothing is
// set or stored on the unit.
type Upload struct {
	Unit netip.Addr // that the unit sends from
	Host netip.Addr // ours, as the unit sees it
	// Listen opens the port that the unit sends to. The caller of Listen closes
	// what it returns.
	Listen func() (net.PacketConn, error)
}

// uploadName is the name under which flash is sent, uploadMax how much at once,
// uploadTakes how long that may take.
const (
	uploadName  = "assay.bin"
	uploadMax   = 4 << 20
	uploadTakes = 3 * time.Minute
	uploadTries = 2
)

// upload reads what comes over the network and returns the ranges that have to
// come over the line. Each range that came has the unit's own checksum.
func (s *source) upload(ctx context.Context, ranges []attest.Extent, each func(attest.Extent, []byte, error) error) (rest []attest.Extent, err error) {
	for _, r := range s.byDevice(joinedRanges(ranges)) {
		b, ok, err := s.over(ctx, r)
		if err != nil {
			return nil, err
		}
		if !ok {
			rest = append(rest, r)
			continue
		}
		if err := each(r, b, nil); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// joinedRanges makes neighbours one, up to what is sent at once.
func joinedRanges(ranges []attest.Extent) []attest.Extent {
	var out []attest.Extent
	for _, r := range ranges {
		if n := len(out); n > 0 && out[n-1].Offset+out[n-1].Size == r.Offset && out[n-1].Size+r.Size <= uploadMax {
			out[n-1].Size += r.Size
			continue
		}
		out = append(out, r)
	}
	return out
}

// byDevice cuts ranges where one device ends and the next begins.
func (s *source) byDevice(ranges []attest.Extent) []attest.Extent {
	var out []attest.Extent
	for _, r := range ranges {
		at := r.Offset
		for _, p := range s.cutLong(r) {
			if p.whole == nil {
				out = append(out, p.Extent)
				at = p.Offset + p.Size
			}
		}
		if end := r.Offset + r.Size; at < end { // what no device shows
			out = append(out, attest.Extent{Offset: at, Size: end - at})
		}
	}
	return out
}

// over brings one range over the network. ok is false where it has to come over
// the line.
func (s *source) over(ctx context.Context, x attest.Extent) (b []byte, ok bool, err error) {
	u, pieces, d := s.p.o.Upload, s.cutLong(x), s.p.digest()
	if u == nil || s.uploadFails >= uploadTries || len(pieces) != 1 || pieces[0].whole != nil || d.pipe == "" || !s.p.can.dd || x.Size > uploadMax {
		return nil, false, nil
	}
	conn, err := u.Listen()
	if err != nil {
		s.uploadFailed(err)
		return nil, false, nil
	}
	defer conn.Close()
	address, _ := conn.LocalAddr().(*net.UDPAddr)
	if address == nil {
		return nil, false, nil
	}
	s.p.sends = fmt.Sprintf("tftp -p -l - -r %s %s %d", uploadName, u.Host, address.Port)
	b = make([]byte, x.Size)
	bounded, cancel := context.WithTimeout(ctx, uploadTakes)
	defer cancel()
	done := make(chan error, 1)
	var n int64
	go func() {
		r := tftp.Receiver{Name: uploadName, Max: x.Size, From: netip.PrefixFrom(u.Unit, u.Unit.BitLen())}
		var err error
		n, err = r.Receive(bounded, conn, at(b))
		done <- err
	}()
	_, err = s.p.ask(ctx, &request{atoms: []string{pieces[0].dd() + " 2>/dev/null|" + s.p.sends + " 2>/dev/null;"}, max: 4 << 10})
	if err != nil {
		cancel()
	}
	var received error
	select {
	case received = <-done:
	case <-time.After(5 * time.Second): // the unit is done, and nothing came
		cancel()
		received = <-done
	}
	switch {
	case err != nil && !errors.Is(err, errGarbled):
		return nil, false, err
	case err != nil || received != nil:
		s.uploadFailed(errors.Join(err, received))
		return nil, false, nil
	}
	same := false
	err = s.Sums(ctx, []attest.Extent{x}, func(_ attest.Extent, sum []byte, err error) error {
		same = err == nil && n == x.Size && bytes.Equal(sum, d.Of(b))
		return nil
	})
	if err == nil && !same {
		s.uploadFailed(fmt.Errorf("%d of %d bytes came, and they are not what the unit's %s says: %w", n, x.Size, d.Name, devices.ErrMalformed))
	}
	return b, same, err
}

// at is a range in memory that is written at offsets.
type at []byte

func (b at) WriteAt(p []byte, off int64) (int, error) { return copy(b[off:], p), nil }

// uploadFailed counts, and gives the network up after a few.
func (s *source) uploadFailed(err error) {
	s.p.line.Log.Remark("upload over the network: %v", err)
	if s.uploadFails++; s.uploadFails == uploadTries && s.p.o.Progress != nil {
		s.p.o.Progress(fmt.Sprintf("upload over the network does not work (%v): reading over the serial line", err))
	}
}
