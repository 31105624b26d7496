package uboot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/tftp"
)

// Upload lets a loader send flash over the network, by mainline's tftpput or the
// "tftp ADDRESS NAME SIZE" of HiSilicon's and Xiongmai's loaders. Two variables
// are set in the loader's RAM for that, so it is for who has agreed; nothing is
// saved.
type Upload struct {
	Unit netip.Addr // that the loader takes
	Host netip.Addr // ours, as the unit sees it
	// Listen opens the port that the loader sends to, UDP 69 of Host. The caller
	// of Listen closes it.
	Listen func() (net.PacketConn, error)
}

// uploadName is the name under which flash is sent.
const uploadName = "assay.bin"

// settings are the commands that give the loader its addresses.
func (u *Upload) settings() []string {
	return []string{"setenv ipaddr " + u.Unit.String(), "setenv serverip " + u.Host.String()}
}

// prepareUpload finds out how this loader uploads, and gives it its addresses.
func (p *Prompt) prepareUpload(ctx context.Context) error {
	u := p.o.Upload
	if u == nil || p.upload != nil || !u.Unit.Is4() || !u.Host.Is4() {
		return nil
	}
	var form func(address uint64, size int64) string
	if answer, err := p.askAgain(ctx, "help tftpput"); err != nil {
		return err
	} else if strings.Contains(answer, "tftpput") && strings.Contains(answer, "ddress") {
		form = func(address uint64, size int64) string {
			return fmt.Sprintf("tftpput %x %x %s", address, size, uploadName)
		}
	} else if answer, err := p.askAgain(ctx, "help tftp"); err != nil {
		return err
	} else if strings.Contains(strings.ToLower(answer), "upload") { // elsewhere tftp is short for tftpboot, which would write RAM
		form = func(address uint64, size int64) string {
			return fmt.Sprintf("tftp %x %s %x", address, uploadName, size)
		}
	}
	if form == nil {
		p.o.Upload = nil
		p.o.Progress("this boot loader has no command that uploads: reading over the serial line")
		return nil
	}
	p.reach.settings = u.settings()
	for _, s := range p.reach.settings {
		if _, err := p.askAgain(ctx, s); err != nil {
			return err
		}
	}
	p.upload = form
	return nil
}

// uploads is how many ranges in a row may fail before the network is left alone.
const uploadTries = 2

// uploadTakes bounds one upload, whose window is 4 MiB at most.
const uploadTakes = 3 * time.Minute

// over brings a range over the network and compares it with the loader's own
// checksum. ok is false where it has to come another way.
func (s *source) over(ctx context.Context, x attest.Extent) (b []byte, ok bool, err error) {
	if s.upload == nil || s.has32 != yes {
		return nil, false, nil
	}
	start, err := s.at(ctx, x)
	if err != nil {
		return nil, false, err
	}
	conn, err := s.o.Upload.Listen()
	if err != nil {
		s.giveUpUpload(err)
		return nil, false, nil
	}
	defer conn.Close()
	b = make([]byte, x.Size)
	ctx, cancel := context.WithTimeout(ctx, uploadTakes)
	defer cancel()
	type received struct {
		n   int64
		err error
	}
	done := make(chan received, 1)
	receive, stop := context.WithCancel(ctx)
	go func() {
		r := tftp.Receiver{Name: uploadName, Max: x.Size, From: netip.PrefixFrom(s.o.Upload.Unit, 32)}
		n, err := r.Receive(receive, conn, buffer(b))
		done <- received{n, err}
	}()
	text, err := s.ask(ctx, request{command: s.upload(start, x.Size), max: 256 << 10, patience: uploadTakes})
	if err == nil && strings.Contains(text, "Retry count exceeded") || errors.Is(err, errGarbled) {
		stop()
	}
	var got received
	select {
	case got = <-done:
	case <-time.After(5 * time.Second): // the loader is done, and nothing came
		stop()
		got = <-done
	}
	stop()
	switch {
	case errors.Is(err, errGarbled) || err == nil && got.err != nil:
		s.uploadFailed(fmt.Errorf("%w (%q)", got.err, clip(strings.TrimSpace(text))))
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	sums, err := s.sums(ctx, []attest.Extent{x})
	if err != nil {
		return nil, false, err
	}
	if got.n != x.Size || len(sums) != 1 || sums[0] == nil || binary.BigEndian.Uint32(sums[0]) != crc32.ChecksumIEEE(b) {
		s.uploadFailed(fmt.Errorf("%d of %d bytes came, and they are not what the loader's checksum says: %w", got.n, x.Size, devices.ErrMalformed))
		return nil, false, nil
	}
	s.uploadFails = 0
	return b, true, nil
}

// buffer is a range in memory that is written at offsets.
type buffer []byte

func (b buffer) WriteAt(p []byte, off int64) (int, error) { return copy(b[off:], p), nil }

func (s *source) uploadFailed(err error) {
	if s.uploadFails++; s.uploadFails >= uploadTries {
		s.giveUpUpload(err)
	}
}

func (s *source) giveUpUpload(err error) {
	s.upload = nil
	s.line.Log.Remark("the network is left alone: %v", err)
	s.o.Progress(fmt.Sprintf("upload over the network does not work (%v): reading over the serial line", err))
}
