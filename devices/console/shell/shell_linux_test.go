package shell

import (
	"bytes"
	"testing"
	"time"

	"assay/attest"
	wire "assay/devices/simulator/line"
)

// onlySource identifies a unit and returns its only flash.
func onlySource(t *testing.T, p *Prompt, sink *kept) *source {
	t.Helper()
	if err := p.Identify(within(t, 2*time.Minute), sink); err != nil {
		t.Fatal(err)
	}
	banks := p.Banks()
	if len(banks) != 1 {
		t.Fatalf("banks %+v, problems %v", banks, sink.problems)
	}
	s, err := p.Source(t.Context(), banks[0])
	if err != nil {
		t.Fatal(err)
	}
	return s.(*source)
}

func TestAFlashIsReadThroughARealShell(t *testing.T) {
	t.Parallel()
	image := random(768 << 10)
	copy(image[256<<10:], bytes.Repeat([]byte{0xff}, 256<<10))
	c := newCamera(t, image, parts(256<<10, 64<<10, 448<<10)...)
	p, log := c.plug(t, wire.Config{}, Options{})
	sink := &kept{}
	s := onlySource(t, p, sink)
	for _, x := range sink.problems {
		t.Error(x)
	}
	got, errs := readAll(t, within(t, time.Minute), s)
	if !bytes.Equal(got, image) || len(errs) > 0 {
		t.Fatalf("the dump differs: %v\n%s", errs, log.Take())
	}
	if s.Checksum().Name != "crc32" {
		t.Errorf("checksum %q", s.Checksum().Name)
	}
	n := 0
	ranges := []attest.Extent{{Size: 65536}, {Offset: 65536, Size: 65536}, {Offset: 200 << 10, Size: 150 << 10}, {Offset: 767 << 10, Size: 1000}}
	if err := s.Sums(within(t, time.Minute), ranges, func(r attest.Extent, sum []byte, err error) error {
		n++
		if want := s.Checksum().Of(image[r.Offset : r.Offset+r.Size]); err != nil || !bytes.Equal(sum, want) {
			t.Errorf("%v: %x, want %x, %v", r, sum, want, err)
		}
		return nil
	}); err != nil || n != len(ranges) {
		t.Errorf("%d sums, %v", n, err)
	}
}

func TestAnEMMCIsReadAsAreaOfItsOwnAndACardIsNot(t *testing.T) {
	t.Parallel()
	image, boot := random(192<<10), random(64<<10)
	c := newCamera(t, nil)
	const at = "/sys/block/mmcblk0/"
	for name, content := range map[string]string{
		at + "size": "384\n", at + "device/type": "MMC\n", at + "device/name": "8GTF4R\n", at + "device/cid": "15010038475446345201000000000000\n",
		at + "mmcblk0p1/start": "64\n", at + "mmcblk0p1/size": "128\n", at + "mmcblk0p1/uevent": "DEVTYPE=partition\nPARTNAME=rootfs\n",
		at + "mmcblk0p2/start": "192\n", at + "mmcblk0p2/size": "192\n",
		"/sys/block/mmcblk0boot0/size": "128\n",
		"/sys/block/mmcblk1/size":      "128\n", "/sys/block/mmcblk1/device/type": "SD\n", "/sys/block/mmcblk1/device/name": "SU04G\n",
		"/dev/mmcblk0": string(image), "/dev/mmcblk0boot0": string(boot),
	} {
		c.file(t, name, content)
	}
	p, _ := c.plug(t, wire.Config{}, Options{Quiet: quick})
	sink := &kept{}
	if err := p.Identify(within(t, time.Minute), sink); err != nil {
		t.Fatal(err)
	}
	sink.wants(t, [][3]string{
		{"flash", "part", "8GTF4R"}, {"flash", "cid", "15010038475446345201000000000000"}, {"module", "card", "SD SU04G"},
		{"flash", "partitions", "rootfs 0x00008000-0x00018000, mmcblk0p2 0x00018000-0x00030000"},
	})
	banks := p.Banks()
	if len(banks) != 2 || banks[0].Name != "mmc0" || banks[1].Name != "mmc0boot0" {
		t.Fatalf("%+v", banks)
	}
	for i, want := range [][]byte{image, boot} {
		s, err := p.Source(t.Context(), banks[i])
		if err != nil {
			t.Fatal(err)
		}
		if got, errs := readAll(t, within(t, time.Minute), s); !bytes.Equal(got, want) || len(errs) > 0 {
			t.Errorf("%s differs: %v", banks[i].Name, errs)
		}
	}
}
