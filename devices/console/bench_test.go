package console

import (
	"testing"
	"time"

	simulator "assay/devices/simulator/console"
)

// BenchmarkReadBank reports the bytes of flash read in a second from a simulated
// unit: on a line without a limit, what this side and the pseudo-terminal take;
// at 11,520 B/s, which is 115200 baud, what the wire leaves.
func BenchmarkReadBank(b *testing.B) {
	for name, rate := range map[string]int{"unlimited": 0, "115200 baud": 11520} {
		b.Run(name, func(b *testing.B) {
			cfg := at(simulator.Quirks{BytesPerSec: rate})
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
		})
	}
}
