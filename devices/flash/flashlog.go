package flash

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"assay/devices"
)

// What flashrom prints (its cli_classic.c, cli_output.c, spi25.c and the
// programmers' own messages; 1.2 to 1.6).

var (
	versionLine = regexp.MustCompile(`(?m)^flashrom (\S{1,80})`)
	foundChip   = regexp.MustCompile(`(?m)^Found (.{1,60}?) flash chip "([^"\n]{1,100})" \((\d{1,8}) kB, ([^)\n]{1,40})\)`)
	// The line of the probe that found the chip: "Probing for Winbond W25Q128.V,
	// 16384 kB: compare_id: id1 0xef, id2 0x4018".
	probeID       = regexp.MustCompile(`(?m)^Probing for (.{1,160}), (\d{1,8}) kB: .{0,60}?\bid1 0x([0-9a-f]{2}), id2 0x([0-9a-f]{4})\b`)
	severalFit    = regexp.MustCompile(`(?m)Multiple flash chip definitions match the detected chip\(s\): (".*")\s*$`)
	unknownDriver = regexp.MustCompile(`Unknown programmer "`)
	sizeLine      = regexp.MustCompile(`(?m)^(\d{1,12})\s*$`)
	percentOf     = regexp.MustCompile(`\[READ(?:: *|\] )(\d{1,3})%`)
	warning       = regexp.MustCompile(`(?mi)^.{0,40}\bwarning\b.{0,300}$`)
)

// maxChip bounds the size that a chip may have: the largest that are made for
// this bus have 256 MiB.
const maxChip = 1 << 30

// chip is what flashrom found.
type chip struct {
	vendor, part string
	jedec        string // "ef 40 18"; empty where it was found in another way
	size         int64
	otp          bool // has one-time-programmable memory that flashrom does not read
}

// chipIn reads the chip out of the log of a probe.
func chipIn(log []byte) (chip, error) {
	m := foundChip.FindSubmatch(log)
	if m == nil {
		return chip{}, fmt.Errorf("%w: flashrom does not say which chip it found: %s", devices.ErrMalformed, lastLines(log))
	}
	c := chip{vendor: string(m[1]), part: string(m[2]), otp: bytes.Contains(log, []byte("one-time programmable"))}
	kB, err := strconv.ParseInt(string(m[3]), 10, 64)
	if err != nil || kB <= 0 || kB > maxChip>>10 {
		return chip{}, fmt.Errorf("%w: flashrom says that the chip has %s kB", devices.ErrMalformed, m[3])
	}
	c.size = kB << 10
	if all := sizeLine.FindAllSubmatch(log, -1); all != nil {
		if n := string(all[len(all)-1][1]); n != strconv.FormatInt(c.size, 10) {
			return chip{}, fmt.Errorf("%w: flashrom says that the chip has %d bytes, and that it has %s", devices.ErrMalformed, c.size, n)
		}
	}
	for _, p := range probeID.FindAllSubmatch(log, -1) {
		if string(p[1]) == c.vendor+" "+c.part && string(p[2]) == string(m[3]) {
			c.jedec = fmt.Sprintf("%s %s %s", p[3], p[4][:2], p[4][2:])
		}
	}
	return c, nil
}

// failures are the reasons that flashrom gives, in the order in which they are
// looked for, and what to do. The sentinel is what the reason is to a caller.
var failures = []struct {
	says *regexp.Regexp
	is   error
	hint string
}{
	{severalFit, devices.ErrMalformed, ""},
	{regexp.MustCompile(`Unknown chip '`), devices.ErrMalformed, "that is no name in the list that flashrom -L prints; leave ?chip= out to see what fits"},
	{unknownDriver, devices.ErrUnreachable, "flashrom -L lists the programmers it was built with"},
	{regexp.MustCompile(`(?i)permission denied|LIBUSB_ERROR_ACCESS|insufficient permissions|operation not permitted|errno=13`), devices.ErrAccess,
		"this user may not open the programmer: add the user to the group that owns its device (plugdev for USB, spi for /dev/spidev*, dialout for serial ports), or run as root"},
	{regexp.MustCompile(`(?i)LIBUSB_ERROR_BUSY|resource busy|device busy`), devices.ErrAccess, "another program uses the programmer; close it"},
	{regexp.MustCompile(`Programmer initialization failed`), devices.ErrUnreachable, "no such programmer is plugged in, or its parameters are wrong; see: man flashrom, section on programmers"},
	{regexp.MustCompile(`No EEPROM/flash device found`), devices.ErrUnreachable, wiring},
	{regexp.MustCompile(`(?i)too big for this programmer`), devices.ErrUnreachable, "this programmer cannot address the chip's size; use another"},
	{regexp.MustCompile(`(?i)no space left on device`), devices.ErrUnreachable, "the folder for temporary files is full; set TMPDIR to one with room for three copies of the chip"},
	{regexp.MustCompile(`(?i)read operation failed|transaction error|spi transfer error`), devices.ErrUnreachable, "the programmer lost the chip while it read: press the clip on again, shorten the wires, lower the clock (spispeed=…)"},
}

// wiring is what to look at when a programmer sees no chip.
const wiring = "look at the clip: pin 1 at the dot, all eight pins in contact; the unit unpowered and its supply unplugged; " +
	"wires under 20 cm; if the unit's processor wakes up and fights for the bus, hold it in reset or lift the chip. " +
	"Measure the supply before: a 1.8 V chip (names with W, LQ or U, as W25Q128JW or GD25LQ128) needs a level shifter, " +
	"and many ch341a boards drive 5 V on their data lines"

// failure explains a run that failed by what it printed.
func failure(log []byte) error {
	for _, f := range failures {
		m := f.says.FindSubmatch(log)
		switch {
		case m == nil:
			continue
		case f.says == unknownDriver:
			return fmt.Errorf("%w: flashrom knows no programmer of that name: %s", f.is, f.hint)
		case f.says == severalFit:
			return fmt.Errorf("%w: several definitions fit this chip: %s; read what is printed on it and name one: ?chip=NAME", f.is, clipped(strings.ReplaceAll(string(m[1]), `"`, ""), 1000))
		}
		return fmt.Errorf("%w: %s: %s", f.is, lastLines(log), f.hint)
	}
	return fmt.Errorf("%w: flashrom failed: %s", devices.ErrUnreachable, lastLines(log))
}

// noise are lines of flashrom's that explain no failure.
var noise = regexp.MustCompile(`^(flashrom |Using |Initializing |Requested |Command line|Enabling |Note: |Please run|Probing for|===|Error: Programmer initialization failed|Valid choices|The following protocols)|^\s*$`)

// lastLines is the end of what it printed, less what it always prints.
func lastLines(log []byte) string {
	const most = 2
	var kept []string
	tail := log
	if len(tail) > 4096 {
		_, tail, _ = bytes.Cut(tail[len(tail)-4096:], []byte{'\n'})
	}
	for line := range bytes.Lines(tail) {
		if s := strings.TrimSpace(string(line)); !noise.MatchString(s) {
			kept = append(kept, clipped(s, 200))
		}
	}
	if len(kept) == 0 {
		return "it says nothing"
	}
	return strings.TrimRight(strings.Join(kept[max(0, len(kept)-most):], " "), ".")
}

// clipped keeps the start of a line, without what would move a terminal.
func clipped(s string, n int) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, s[:min(len(s), n)])
}

// warnings are what flashrom warns of: voltages, clocks, cables.
func warnings(log []byte) (out []string) {
	const most = 10
	for _, w := range warning.FindAll(log, most) {
		out = append(out, clipped(strings.TrimSpace(string(w)), 300))
	}
	return out
}

// versionIn is the version that it prints first. Debian's 1.3.0 says "unknown".
func versionIn(log []byte) string {
	if m := versionLine.FindSubmatch(log); m != nil {
		return clipped(string(m[1]), 80)
	}
	return "of no stated version"
}

// percentIn is the last progress message in a text.
func percentIn(log []byte) (int, bool) {
	all := percentOf.FindAllSubmatch(log, -1)
	if all == nil {
		return 0, false
	}
	n, err := strconv.Atoi(string(all[len(all)-1][1]))
	return min(n, 100), err == nil
}
