package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"assay/attest"
	"assay/devices"
)

// bank is a flash memory and how it is reached.
type bank struct {
	devices.Bank
	staged bool // it is copied to RAM by "sf read" and read there
}

func (r *reader) readNOR() error {
	if !r.has("flinfo") {
		return nil
	}
	answer, ok, err := r.askFor("flinfo")
	if !ok {
		return err
	}
	found, err := parseFlinfo(answer)
	if err != nil {
		r.problem(fmt.Errorf("%w: %w", devices.ErrMalformed, err), "flinfo")
	}
	for i, b := range found {
		name := fmt.Sprintf("nor%d", i)
		if b.manufacturer != "" {
			r.claim(attest.SubjectFlash, "jedec-id", b.manufacturer+" "+b.device, fmt.Sprintf("flinfo bank %d", b.number))
		}
		r.claim(attest.SubjectFlash, "size", fmt.Sprint(b.size), fmt.Sprintf("flinfo bank %d", b.number))
		r.channel.addBank(bank{Bank: devices.Bank{Name: name, Size: b.size, Address: b.address, Acquisition: attest.A2}})
	}
	return nil
}

var mtdPart = regexp.MustCompile(`^\s+- (0x[0-9a-f]{8,16}-0x[0-9a-f]{8,16}) : "([^"]{1,64})"`)

// readMtd claims the partitions as the loader sees them (U-Boot cmd/mtd.c).
func (r *reader) readMtd() error {
	if !r.has("mtd") {
		return nil
	}
	answer, ok, err := r.askFor("mtd list")
	if !ok {
		return err
	}
	var parts []string
	for line := range lines(answer) {
		if m := mtdPart.FindStringSubmatch(line); m != nil && len(parts) < 64 {
			parts = append(parts, m[2]+" "+m[1])
		}
	}
	r.claim(attest.SubjectFlash, "partitions", strings.Join(parts, ", "), "mtd list")
	return nil
}

func (r *reader) readSPI() error {
	if !r.has("sf") {
		return nil
	}
	answer, ok, err := r.askFor("sf probe")
	if !ok {
		return err
	}
	f, found := parseSfProbe(answer)
	if !found {
		r.problem(fmt.Errorf("%w: sf probe found no flash: %q", devices.ErrMalformed, clip(strings.TrimSpace(answer))), "sf probe")
		return nil
	}
	r.claim(attest.SubjectFlash, "part", f.name, "sf probe")
	r.claim(attest.SubjectFlash, "jedec-id", f.id, "sf probe")
	switch {
	case f.size == 0:
		r.channel.sink.Problem(attest.ProblemIncomplete, "uboot sf probe", "sf probe does not say the flash's size: it is not read through this channel; use a programmer")
	case r.staging.size == 0:
		r.channel.sink.Problem(attest.ProblemIncomplete, "uboot sf probe", "bdinfo does not show RAM that is safe to stage the flash in: it is not read through this channel; use a programmer")
	default:
		r.claim(attest.SubjectFlash, "size", fmt.Sprint(f.size), "sf probe")
		r.channel.addBank(bank{Bank: devices.Bank{Name: "spi0", Size: f.size, Acquisition: attest.A2}, staged: true})
	}
	return nil
}

// readOthers names flash that the loader can see and this channel does not read.
func (r *reader) readOthers() error {
	for _, command := range []string{"nand info", "mmc info"} {
		if !r.has(strings.Fields(command)[0]) {
			continue
		}
		answer, ok, err := r.askFor(command)
		if err != nil {
			return err
		}
		what := strings.Join(strings.Fields(answer), " ")
		if !ok || !strings.Contains(answer, "Device") || strings.Contains(answer, "not found") || strings.Contains(answer, "no devices") {
			continue
		}
		r.claim(attest.SubjectFlash, "part", clip(what), command)
		r.channel.sink.Problem(attest.ProblemIncomplete, "uboot "+command, "this memory is not read through the boot loader's prompt; read it with a programmer")
	}
	return nil
}

func (c *Channel) addBank(b bank) {
	if !slices.ContainsFunc(c.banks, func(have bank) bool { return have.Name == b.Name }) {
		c.banks = append(c.banks, b)
	}
}

// Banks returns the flash memories that flinfo and sf probe showed.
func (c *Channel) Banks(context.Context) ([]devices.Bank, error) {
	if c.session == nil {
		return nil, fmt.Errorf("%s: %w: the flash is not known before the unit is identified", c.target, devices.ErrUnreachable)
	}
	all := make([]devices.Bank, 0, len(c.banks))
	for _, b := range c.banks {
		all = append(all, b.Bank)
	}
	slices.SortStableFunc(all, func(a, b devices.Bank) int { return cmp.Compare(a.Address, b.Address) })
	return all, nil
}

// ReadBank dumps a bank with md. Every block is compared with the CRC-32 that
// the unit computes, or read twice where the loader has no crc32. An area whose
// CRC-32 is that of 0xFF or 0x00 throughout is not sent but written as such: a
// loader that lies about it is not found out, as it would not be about the bytes.
func (c *Channel) ReadBank(ctx context.Context, b devices.Bank, w io.WriterAt, progress devices.Progress) error {
	if c.session == nil {
		return fmt.Errorf("%s: %w: the flash is not known before the unit is identified", c.target, devices.ErrUnreachable)
	}
	i := slices.IndexFunc(c.banks, func(have bank) bool { return have.Name == b.Name })
	if i < 0 {
		return fmt.Errorf("%s: no flash bank %q", c.target, b.Name)
	}
	defer c.keepTranscript()
	have := c.banks[i]
	var read int64
	d := &dump{session: c.session, ctx: ctx, name: have.Name, address: have.Address, size: have.Size, w: w}
	d.done = func(n int64) {
		read += n
		if progress != nil {
			progress(read, have.Size)
		}
	}
	err := d.bank(have)
	c.keepProblem(err, have.Name)
	if len(d.unread) > 0 {
		return &devices.UnreadError{Bank: have.Name, Extents: d.unread, Cause: d.cause}
	}
	return err
}

func (c *Channel) keepProblem(err error, bank string) {
	if err != nil {
		c.log.Remark("reading %s: %v", bank, err)
	}
}

func (d *dump) bank(b bank) error {
	if err := d.findCRC(); err != nil {
		d.miss(0, d.size, err)
		return err
	}
	if !b.staged {
		return d.run()
	}
	for off := int64(0); off < b.Size; off += int64(d.staging.size) {
		d.address, d.at, d.reached = d.staging.start, off, 0
		d.size = min(int64(d.staging.size), b.Size-off)
		d.restaged = func() error { return d.restage(off) }
		err := d.stageTwice(off)
		if err == nil {
			err = d.run()
		} else {
			d.miss(0, d.size, err)
		}
		if err != nil && (b.Size-off > d.size) && !errors.Is(err, errStage) {
			d.at = 0
			d.miss(off+d.size, b.Size-off-d.size, err)
			return err
		}
	}
	return nil
}

// findCRC asks once whether the loader has crc32.
func (d *dump) findCRC() error {
	for range 1 + rereads {
		address := d.address
		if d.staging.size > 0 && address == 0 {
			address = d.staging.start
		}
		text, err := d.askThrough(request{command: fmt.Sprintf("crc32 %x 10", address), max: 4 << 10, patience: 2 * time.Second})
		if errors.Is(err, errGarbled) {
			continue
		}
		d.hasCRC = err == nil && crcAnswer.MatchString(text)
		if err != nil || d.hasCRC || unknown(text) {
			return err
		}
	}
	return nil
}

// prefill is what staging RAM holds before "sf read", so that a read that
// silently did nothing is not taken for erased flash.
const prefill = 0xa5

var errStage = fmt.Errorf("%w: sf read did not fill the staging RAM", devices.ErrMalformed)

// stage copies d.size bytes of the SPI flash from off to RAM. sf probe comes
// first because without it some loaders read nothing and do not say so.
func (d *dump) stage(off int64) error {
	for _, command := range []string{
		fmt.Sprintf("mw.b %x %x %x", d.staging.start, prefill, d.size),
		"sf probe",
		fmt.Sprintf("sf read %x %x %x", d.staging.start, off, d.size),
	} {
		text, err := d.ask(d.ctx, request{command: command, max: answerMax, patience: time.Minute})
		if err != nil {
			return err
		}
		// Without crc32 to show what arrived, the loader has to say that it read.
		said := strings.ToLower(text)
		if strings.HasPrefix(command, "sf read") && (strings.Contains(said, "error") || !d.hasCRC && !strings.Contains(said, "ok")) {
			return fmt.Errorf("flash %s at %#x: %w: %q", d.name, off, errStage, clip(strings.TrimSpace(text)))
		}
	}
	return nil
}

// stageTwice stages a range until two readings of the chip agree, since a single
// bit flipped on the way from the chip to RAM is known from the field.
func (d *dump) stageTwice(off int64) error {
	if !d.hasCRC {
		return d.stage(off)
	}
	var last uint32
	for try := range 2 + rereads {
		err := d.stage(off)
		if errors.Is(err, errRestarted) {
			err = d.resume(d.ctx)
			if err == nil {
				err = errGarbled
			}
		}
		var sum uint32
		if err == nil {
			sum, err = d.crc(0, d.size)
		}
		if errors.Is(err, errGarbled) {
			continue
		}
		if err != nil {
			return err
		}
		if sum == crcOf(prefill, d.size) {
			return fmt.Errorf("flash %s at %#x: %w", d.name, off, errStage)
		}
		if try > 0 && sum == last {
			return nil
		}
		last = sum
	}
	return fmt.Errorf("flash %s at %#x: no two readings of the chip agree: %w: check its supply voltage", d.name, off, errStage)
}

// restage fills the RAM again after a restart.
func (d *dump) restage(off int64) error {
	again := d.restaged
	d.restaged = nil // a restart meanwhile shows as readings that differ
	defer func() { d.restaged = again }()
	return d.stageTwice(off)
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
	if end < start+stagingClear+blockSize {
		return window{}
	}
	return window{start, min(stagingMax, end-start-stagingClear)}
}
