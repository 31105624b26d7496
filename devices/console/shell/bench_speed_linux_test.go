package shell

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"assay/attest"
	wire "assay/devices/simulator/line"
)

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkShell reads incompressible flash through a real shell over a line of
// 11,520 bytes a second, 115200 baud. It reports how much longer that takes than
// the bytes alone would, how many bytes the unit sent for one, and the processor
// time, the simulated line's included. A machine that is busy otherwise makes the
// simulated line slower than it is set to.
func BenchmarkShell(b *testing.B) {
	for _, kib := range []int64{64, 256, 1024} {
		b.Run(fmt.Sprintf("%dKiB", kib), func(b *testing.B) {
			image := random(int(kib << 10))
			c := newCamera(b, image, parts(kib<<10)...)
			p, _ := c.plug(b, wire.Config{Rate: 11520}, Options{})
			if err := p.Identify(b.Context(), &kept{}); err != nil {
				b.Fatal(err)
			}
			s, err := p.Source(b.Context(), p.Banks()[0])
			if err != nil {
				b.Fatal(err)
			}
			used, came := cpu(), p.line.Received()
			for b.Loop() {
				if err := s.Read(b.Context(), []attest.Extent{{Size: s.Size()}}, func(_ attest.Extent, _ []byte, err error) error { return err }); err != nil {
					b.Fatal(err)
				}
			}
			took := b.Elapsed() / time.Duration(b.N)
			limit := time.Duration(kib<<10) * time.Second / 11520
			b.SetBytes(kib << 10)
			b.ReportMetric(float64(took)/float64(limit), "×line")
			b.ReportMetric(float64(p.line.Received()-came)/float64(b.N)/float64(kib<<10), "sent/byte")
			b.ReportMetric(100*float64((cpu()-used)/time.Duration(b.N))/float64(took), "%cpu")
		})
	}
}
