package shell

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	wire "assay/devices/simulator/line"
)

// The unit's own tftp is BusyBox's, on loopback.
func TestAFlashIsSentOverTheNetworkWhereThereIsOne(t *testing.T) {
	for name, c := range map[string]struct {
		applets []string
		sent    bool
	}{
		"a unit with tftp": {cameraApplets, true},
		"one without":      {slices.DeleteFunc(slices.Clone(cameraApplets), func(a string) bool { return a == "tftp" }), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := random(320 << 10)
			cam := newCamera(t, image, parts(128<<10, 64<<10, 128<<10)...)
			cam.applets = c.applets
			local := netip.MustParseAddr("127.0.0.1")
			p, log := cam.plug(t, wire.Config{}, Options{Upload: &Upload{Unit: local, Host: local, Listen: func() (net.PacketConn, error) {
				return net.ListenUDP("udp4", &net.UDPAddr{IP: local.AsSlice()})
			}}})
			s := onlySource(t, p, &kept{})
			before := p.line.Received()
			got, errs := readAll(t, within(t, 2*time.Minute), s)
			if !bytes.Equal(got, image) || len(errs) > 0 {
				t.Fatalf("the dump differs: %v\n%s", errs, log.Take())
			}
			if sent := p.line.Received()-before < int64(len(image))/4; sent != c.sent {
				t.Errorf("%d bytes came over the line\n%s", p.line.Received()-before, log.Take())
			}
		})
	}
}

func TestOnlyTheUploadThatWasAgreedToMayBeTyped(t *testing.T) {
	p := New(nil, Options{})
	command := "(dd if=/dev/mtd0ro bs=65536 skip=0 count=1 2>/dev/null|tftp -p -l - -r assay.bin 192.0.2.1 6969 2>/dev/null;);"
	if p.permit(command) == nil {
		t.Error("allowed before anybody agreed")
	}
	p.sends = "tftp -p -l - -r assay.bin 192.0.2.1 6969"
	if err := p.permit(command); err != nil {
		t.Error(err)
	}
	for _, other := range []string{
		strings.Replace(command, "192.0.2.1", "192.0.2.2", 1), strings.Replace(command, "-p", "-g", 1), strings.Replace(command, "assay.bin", "/etc/passwd", 1),
	} {
		if p.permit(other) == nil {
			t.Errorf("%q may be typed", other)
		}
	}
}
