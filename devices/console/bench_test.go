package console

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"assay/attest"
	"assay/devices/console/line"
	"assay/devices/console/readout"
	simulator "assay/devices/simulator/console"
	wire "assay/devices/simulator/line"
	"assay/internal/qemu"
)

// lineRate is what 115200 baud 8N1 passes, in bytes a second.
const lineRate = 11520

// slow is a real U-Boot with an image in its second bank, at the far end of a
// line that passes 11,520 bytes a second.
type slow struct {
	line   *wire.Line
	source readout.Source
	image  []byte
}

func slowUBoot(b *testing.B, image []byte) *slow {
	path := filepath.Join(b.TempDir(), "flash.img")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		b.Fatal(err)
	}
	m, err := qemu.StartUBoot(b.Context(), "arm64", path, "")
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(m.Stop)
	far, err := line.Open(context.Background(), m.Device, 115200)
	if err != nil {
		b.Fatal(err)
	}
	s := &slow{line: wire.New(far, wire.Config{Rate: lineRate}), image: image}
	b.Cleanup(func() { s.line.Close() })
	c := open(b, m.Device, Options{Port: s.line.Plug()})
	if err := c.Identify(within(b, 2*time.Minute), &kept{}); err != nil {
		b.Fatal(err)
	}
	banks, err := c.Banks(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if s.source, err = c.Source(b.Context(), banks[1]); err != nil {
		b.Fatal(err)
	}
	if s.source, err = readout.Part(s.source, attest.Extent{Size: int64(len(image))}); err != nil {
		b.Fatal(err)
	}
	return s
}

// read reads b.N times and reports "line-%", how much of the line's time the
// unit's bytes fill, "wire-B", what the unit sent, and "cpu-%", what of one
// processor this side needs.
func (s *slow) read(b *testing.B, o readout.Options) {
	dump := newMemory(int64(len(s.image)))
	b.SetBytes(int64(len(s.image)))
	b.ResetTimer()
	sent, cpu := s.line.Count(), cpuTime()
	for b.Loop() {
		if _, err := readout.Run(b.Context(), s.source, unkept{dump}, o); err != nil || !bytes.Equal(dump, s.image) {
			b.Fatal(err, "the dump differs")
		}
	}
	b.StopTimer()
	wireBytes := float64(s.line.Count() - sent)
	b.ReportMetric(100*wireBytes/lineRate/b.Elapsed().Seconds(), "line-%")
	b.ReportMetric(wireBytes/float64(b.N), "wire-B")
	b.ReportMetric(100*(cpuTime()-cpu).Seconds()/b.Elapsed().Seconds(), "cpu-%")
}

// BenchmarkUBoot reads 32 KiB of incompressible flash.
func BenchmarkUBoot(b *testing.B) {
	slowUBoot(b, []byte(noise(32<<10))).read(b, readout.Options{})
}

// BenchmarkUBootErased reads 80 KiB of flash of which 40 % is erased.
func BenchmarkUBootErased(b *testing.B) {
	image := append([]byte(noise(48<<10)), bytes.Repeat([]byte{0xff}, 32<<10)...)
	slowUBoot(b, image).read(b, readout.Options{})
}

// BenchmarkUBootDelta reads 16 MiB of flash that differs from a reference in
// three blocks.
func BenchmarkUBootDelta(b *testing.B) {
	image := []byte(noise(16 << 20))
	reference := bytes.Clone(image)
	for _, at := range []int{5 << 12, 3<<20 + 77, 15 << 20} {
		reference[at] ^= 0x20
	}
	slowUBoot(b, image).read(b, readout.Options{Reference: &readout.Reference{ReaderAt: bytes.NewReader(reference), Size: int64(len(reference))}})
}

// BenchmarkSixteenUnits reads 32 KiB of each of sixteen simulated units at once,
// each on a line of its own. "slowest-%" is how full the least used line was.
func BenchmarkSixteenUnits(b *testing.B) {
	const size = 32 << 10
	type unit struct {
		line   *wire.Line
		source readout.Source
		used   float64
	}
	units := make([]unit, 16)
	for i := range units {
		cfg := at(simulator.Quirks{})
		cfg.NOR[0].Content, cfg.NOR[0].Size = []byte(noise(size)), size
		sim := start(b, cfg)
		far, err := line.Open(context.Background(), sim.Device, 115200)
		if err != nil {
			b.Fatal(err)
		}
		l := wire.New(far, wire.Config{Rate: lineRate})
		b.Cleanup(func() { l.Close() })
		c := open(b, sim.Device, Options{Port: l.Plug()})
		if err := c.Identify(within(b, 2*time.Minute), &kept{}); err != nil {
			b.Fatal(err)
		}
		banks, _ := c.Banks(b.Context())
		source, err := c.Source(b.Context(), banks[0])
		if err != nil {
			b.Fatal(err)
		}
		units[i] = unit{line: l, source: source}
	}
	b.ResetTimer()
	cpu := cpuTime()
	for b.Loop() {
		var all sync.WaitGroup
		for i := range units {
			all.Go(func() {
				u := &units[i]
				sent, begun := u.line.Count(), time.Now()
				if _, err := readout.Run(b.Context(), u.source, unkept{newMemory(size)}, readout.Options{}); err != nil {
					b.Error(err)
				}
				u.used = 100 * float64(u.line.Count()-sent) / lineRate / time.Since(begun).Seconds()
			})
		}
		all.Wait()
	}
	slowest := units[0].used
	for _, u := range units {
		slowest = min(slowest, u.used)
	}
	b.ReportMetric(slowest, "slowest-%")
	b.ReportMetric(100*(cpuTime()-cpu).Seconds()/b.Elapsed().Seconds()/float64(len(units)), "cpu-%/unit")
}

// BenchmarkReadBank reports the bytes of flash read in a second from a simulated
// unit on a line without a limit: what this side and the pseudo-terminal take.
func BenchmarkReadBank(b *testing.B) {
	cfg := at(simulator.Quirks{})
	cfg.NOR[0].Content = firmware()[:16<<10]
	cfg.NOR[0].Size = 16 << 10
	unit := start(b, cfg)
	c := open(b, unit.Device, quick())
	if err := c.Identify(within(b, time.Minute), &kept{}); err != nil {
		b.Fatal(err)
	}
	banks, err := c.Banks(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	dump := newMemory(banks[0].Size)
	b.SetBytes(banks[0].Size)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.ReadBank(b.Context(), banks[0], dump, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(banks[0].Size)*float64(b.N)/b.Elapsed().Seconds(), "B/s")
}
