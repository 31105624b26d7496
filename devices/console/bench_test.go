package console

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
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

// BenchmarkUBoot reads incompressible flash from a real U-Boot through a line
// that passes 11,520 bytes a second. "line-%" is how much of the line's time the
// unit's bytes fill; "wire-B/B" what travels for each byte of flash; "cpu-%" what
// of one processor this side needs.
func BenchmarkUBoot(b *testing.B) {
	const size = 32 << 10
	image := make([]byte, size)
	r := rand.New(rand.NewPCG(4, 4))
	for i := range image {
		image[i] = byte(r.Uint32())
	}
	path := filepath.Join(b.TempDir(), "flash.img")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		b.Fatal(err)
	}
	m, err := qemu.StartUBoot(b.Context(), "arm64", path, "")
	if err != nil {
		b.Skip(err)
	}
	defer m.Stop()
	far, err := line.Open(m.Device, 115200)
	if err != nil {
		b.Fatal(err)
	}
	l := wire.New(far, wire.Config{Rate: lineRate})
	defer l.Close()
	c := open(b, m.Device, Options{Port: l.Plug()})
	if err := c.Identify(within(b, 2*time.Minute), &kept{}); err != nil {
		b.Fatal(err)
	}
	banks, err := c.Banks(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	source, err := c.Source(b.Context(), banks[1])
	if err != nil {
		b.Fatal(err)
	}
	dump := newMemory(banks[1].Size)
	b.SetBytes(size)
	b.ResetTimer()
	sent, cpu := l.Count(), cpuTime()
	for b.Loop() {
		_, err := readout.Run(b.Context(), source, unkept{dump}, readout.Options{Range: attest.Extent{Size: size}})
		if err != nil || !bytes.Equal(dump[:size], image) {
			b.Fatal(err, "the dump differs")
		}
	}
	b.StopTimer()
	wireBytes := float64(l.Count() - sent)
	b.ReportMetric(100*wireBytes/lineRate/b.Elapsed().Seconds(), "line-%")
	b.ReportMetric(wireBytes/float64(size*b.N), "wire-B/B")
	b.ReportMetric(100*(cpuTime()-cpu).Seconds()/b.Elapsed().Seconds(), "cpu-%")
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
