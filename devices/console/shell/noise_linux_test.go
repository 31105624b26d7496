package shell

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	wire "assay/devices/simulator/line"
)

func TestADumpIsExactOverALineThatLosesFlipsAndIsSpokenInto(t *testing.T) {
	t.Parallel()
	image := random(128 << 10)
	for name, w := range map[string]wire.Config{
		"lost and flipped": {LoseOneIn: 20000, FlipOneIn: 20000, Seed: 3},
		"kernel messages":  {Inject: "[  123.456789] usb 1-1: reset high-speed USB device number 2\r\n", InjectEvery: 5000},
		"an application":   {Inject: "\r\nISP: exposure 12345 gain 3\r\n", InjectEvery: 20000},
		"all of it":        {LoseOneIn: 20000, FlipOneIn: 20000, Inject: "[    7.000001] random: crng init done\r\n", InjectEvery: 9000, Seed: 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCamera(t, image, parts(64<<10, 64<<10)...)
			p, log := c.plug(t, w, Options{Quiet: quick})
			sink := &kept{}
			s := onlySource(t, p, sink)
			for _, x := range sink.problems {
				if !strings.Contains(x.Source, "dmesg") {
					t.Error(x)
				}
			}
			if got := sink.values(attest.SubjectFlash, "partitions"); len(got) != 1 || got[0] != "part0 0x00000000-0x00010000, part1 0x00010000-0x00020000" {
				t.Errorf("partitions %q", got)
			}
			start := time.Now()
			got, errs := readAll(t, within(t, 2*time.Minute), s)
			if !bytes.Equal(got, image) || len(errs) > 0 {
				t.Fatalf("the dump differs: %v\n%s", errs, log.Take())
			}
			t.Logf("%d KiB in %v", len(image)>>10, time.Since(start).Round(time.Millisecond))
		})
	}
}

func TestAPulledPlugEndsTheReadingAndKeepsWhatCame(t *testing.T) {
	t.Parallel()
	image := random(512 << 10)
	c := newCamera(t, image, parts(512<<10)...)
	p, _ := c.plug(t, wire.Config{PullAfter: []int64{300 << 10}}, Options{})
	s := onlySource(t, p, &kept{})
	var read int64
	err := s.Read(within(t, time.Minute), []attest.Extent{{Size: s.Size()}}, func(r attest.Extent, b []byte, err error) error {
		if !bytes.Equal(b, image[r.Offset:r.Offset+r.Size]) {
			t.Errorf("%v differs", r)
		}
		read += r.Size
		return err
	})
	if !errors.Is(err, devices.ErrUnreachable) || read == 0 || read == s.Size() {
		t.Fatalf("%d bytes, %v", read, err)
	}
}
