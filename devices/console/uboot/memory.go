package uboot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/readout"
)

// memory is a flash memory and how it is reached.
type memory struct {
	devices.Bank
	// load gives the commands that copy a range of it to an address in RAM; nil
	// where the memory is mapped.
	load func(ram uint64, r attest.Extent) []string
	unit int64           // load's offsets and sizes are multiples of it
	bad  []attest.Extent // blocks that the loader marks as bad
}

func (p *Prompt) addMemory(m memory) {
	m.Acquisition = attest.A2
	if slices.ContainsFunc(p.banks, func(have memory) bool { return have.Name == m.Name }) {
		return
	}
	p.banks = append(p.banks, m)
	if m.load == nil {
		p.reach.mapped = append(p.reach.mapped, window{m.Address, uint64(m.Size)})
	}
}

// Banks returns the memories that the prompt showed, with the parts that it
// names. It is empty before Identify.
func (p *Prompt) Banks() []devices.Bank {
	var all []devices.Bank
	for _, m := range p.banks {
		m.Partitions = p.partitionsOf(m.Name)
		all = append(all, m.Bank)
	}
	slices.SortStableFunc(all, func(a, b devices.Bank) int {
		if a.Address < b.Address {
			return -1
		}
		return min(1, int(a.Address-b.Address))
	})
	return all
}

func (p *Prompt) memoryOf(b devices.Bank) (memory, error) {
	i := slices.IndexFunc(p.banks, func(have memory) bool { return have.Name == b.Name })
	if i < 0 {
		return memory{}, fmt.Errorf("%s: no flash bank %q", p.line.Name, b.Name)
	}
	return p.banks[i], nil
}

// prefill is what staging RAM holds before it is loaded, so that a load that
// silently did nothing is not taken for erased flash.
const prefill = 0xa5

var (
	errStage = fmt.Errorf("%w: the loader did not fill the staging RAM", devices.ErrMalformed)
	errBad   = errors.New("not readable")
)

// load brings a window of the memory that begins with the block of r into RAM,
// until two loadings in a row agree: a single bit flipped on the way from the
// chip to RAM is known from the field (OpenIPC/firmware issue 2298).
func (s *source) load(ctx context.Context, r attest.Extent) error {
	w := s.windowFor(r)
	if slices.ContainsFunc(s.memory.bad, func(b attest.Extent) bool {
		return r.Offset < b.Offset+b.Size && b.Offset < r.Offset+r.Size
	}) {
		return fmt.Errorf("flash %s at %#x: %w: the loader marks the block as bad", s.memory.Name, r.Offset, errBad)
	}
	s.loaded = attest.Extent{}
	var last uint32
	for try := range 2 + rereads {
		err := s.loadOnce(ctx, w)
		var sum uint32
		if err == nil && s.has32 == yes {
			sum, err = s.ramSum(ctx, w.Size)
		}
		if errors.Is(err, errGarbled) {
			continue
		}
		if err != nil {
			return err
		}
		if s.has32 != yes {
			s.loaded = w
			return nil
		}
		if sum == binary.BigEndian.Uint32(readout.CRC32.Fill(prefill, w.Size)) {
			return fmt.Errorf("flash %s at %#x: %w", s.memory.Name, w.Offset, errStage)
		}
		if try > 0 && sum == last {
			s.loaded = w
			return nil
		}
		last = sum
	}
	return fmt.Errorf("flash %s at %#x: no two readings of the chip agree: %w: check its supply voltage", s.memory.Name, w.Offset, errStage)
}

// windowFor is the part of the memory that is loaded for r: as much as fits, in
// windows of one size so that neighbours share one, and without a bad block.
func (s *source) windowFor(r attest.Extent) attest.Extent {
	size := s.window()
	start := r.Offset / size * size
	if r.Offset+r.Size > start+size {
		start = r.Offset / max(s.memory.unit, blockSize) * max(s.memory.unit, blockSize)
	}
	end := min(start+size, s.memory.Size)
	for _, b := range s.memory.bad {
		if b.Offset+b.Size <= r.Offset {
			start = max(start, b.Offset+b.Size)
		} else if b.Offset >= r.Offset+r.Size {
			end = min(end, b.Offset)
		}
	}
	return attest.Extent{Offset: start, Size: end - start}
}

// loadOnce fills the RAM and loads. Without crc32 to show what arrived, the
// loader has to say that it read.
func (s *source) loadOnce(ctx context.Context, w attest.Extent) error {
	ram := s.reach.staging.start
	commands := append([]string{fmt.Sprintf("mw.b %x %x %x", ram, prefill, w.Size)}, s.memory.load(ram, w)...)
	for i, command := range commands {
		text, err := s.ask(ctx, request{command: command, max: answerMax, patience: time.Minute})
		if err != nil {
			return err
		}
		said := strings.ToLower(text)
		if i == len(commands)-1 && (strings.Contains(said, "error") || strings.Contains(said, "usage:") || s.has32 != yes && !strings.Contains(said, "ok")) {
			return fmt.Errorf("flash %s at %#x: %w: %q", s.memory.Name, w.Offset, errStage, clip(strings.TrimSpace(text)))
		}
	}
	return nil
}

// ramSum is the checksum of the first bytes of the staging RAM.
func (s *source) ramSum(ctx context.Context, size int64) (uint32, error) {
	text, err := s.ask(ctx, request{
		command: fmt.Sprintf("crc32 %x %x", s.reach.staging.start, size), max: 4 << 10, patience: devices.Patience, complete: crcAnswer.Match,
	})
	if err != nil {
		return 0, err
	}
	sum, ok := crcIn(text, s.reach.staging.start, size)
	if !ok {
		return 0, errGarbled
	}
	return sum, nil
}

const (
	stagingMax   = 4 << 20
	stagingClear = 4 << 20 // kept between the staging RAM and the loader's own
)

// stagingWindow picks RAM that neither the loader nor its stack, which lie at
// the top, nor vectors and boot parameters at the bottom can be in.
func stagingWindow(b boardInfo) window {
	if len(b.ram) == 0 || len(b.reserved) == 0 {
		return window{}
	}
	ram := b.ram[0]
	start := ram.start + min(32<<20, ram.size/4)
	end := ram.start + ram.size
	for _, r := range b.reserved {
		if r >= ram.start && r < end {
			end = r
		}
	}
	for _, t := range b.trees {
		switch {
		case t >= start && t < end:
			end = t
		case t >= ram.start && t < start && start-t < stagingClear:
			start = t + stagingClear
		}
	}
	start = start / blockSize * blockSize
	if end < start+stagingClear+blockSize {
		return window{}
	}
	return window{start, min(stagingMax, end-start-stagingClear)}
}
