package console

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxTyped is U-Boot's CONFIG_SYS_CBSIZE on most boards.
const maxTyped = 512

// shell is the prompt.
func (c *Console) shell(ctx context.Context) error {
	c.print(c.config.Prompt)
	var typed []byte
	last := ""
	for {
		if c.config.Quirks.Endless {
			if err := c.print("usb 1-1: reset high-speed USB device number 2 using ehci-platform\n"); err != nil {
				return err
			}
		}
		wait := time.Hour
		if c.config.Quirks.Endless {
			wait = time.Microsecond
		}
		k, err := c.key(ctx, wait)
		if errors.Is(err, errIdle) {
			continue
		}
		if err != nil {
			return err
		}
		switch {
		case k == 3:
			typed = typed[:0]
			err = c.print("<INTERRUPT>\n" + c.config.Prompt)
		case k == '\b' || k == 0x7f:
			if len(typed) > 0 {
				typed = typed[:len(typed)-1]
				err = c.print("\b \b")
			}
		case k == '\r' || k == '\n':
			line := strings.TrimSpace(string(typed))
			typed = typed[:0]
			c.print("\n")
			if line == "" {
				line = last
			}
			if last, err = c.executeAll(ctx, line); err == nil {
				err = c.print(c.config.Prompt)
			}
		case k >= 0x20 && k < 0x7f && len(typed) < maxTyped:
			typed = append(typed, k)
			if !c.config.Quirks.NoEcho {
				err = c.print(string(k))
			}
		default:
			err = c.print("\a")
		}
		if err != nil {
			return err
		}
	}
}

// executeAll runs the commands of a line, which semicolons divide.
func (c *Console) executeAll(ctx context.Context, line string) (repeat string, err error) {
	for command := range strings.SplitSeq(line, ";") {
		if repeat, err = c.execute(ctx, strings.TrimSpace(command)); err != nil {
			return "", err
		}
	}
	return repeat, nil
}

// execute runs one command and returns what an empty Enter would repeat.
func (c *Console) execute(ctx context.Context, line string) (repeat string, err error) {
	if line == "" {
		return "", nil
	}
	c.mu.Lock()
	if len(c.log) < 1<<20 {
		c.log = append(c.log, line)
	}
	c.mu.Unlock()
	if answer, ok := c.config.Answers[line]; ok {
		return line, c.print(answer + "\n")
	}
	words := strings.Fields(line)
	if len(words) == 2 && words[0] == "help" && !c.lacks(words[1]) {
		return line, c.print(fmt.Sprintf("%s - upload or download image via network using TFTP protocol\n\nUsage:\n%s Address Size [[hostIPaddr:]filename]\n", words[1], words[1]))
	}
	name, _, _ := strings.Cut(words[0], ".")
	run := commands[name]
	if run == nil || slices.Contains(c.config.Missing, name) || c.lacks(name) {
		return line, c.print(fmt.Sprintf("Unknown command '%s' - try 'help'\n", words[0]))
	}
	return run(c, ctx, words)
}

// commands are those that do something. Filled at init since help lists them.
var commands map[string]func(c *Console, ctx context.Context, words []string) (repeat string, err error)

func init() {
	text := func(f func(c *Console) string) func(*Console, context.Context, []string) (string, error) {
		return func(c *Console, _ context.Context, words []string) (string, error) {
			return words[0], c.print(f(c))
		}
	}
	commands = map[string]func(*Console, context.Context, []string) (string, error){
		"help":     text((*Console).help),
		"version":  text((*Console).version),
		"bdinfo":   text(func(c *Console) string { return strings.Join(c.config.Bdinfo, "\n") + "\n" }),
		"printenv": text((*Console).printenv),
		"flinfo":   text((*Console).flinfo),
		"md":       (*Console).md,
		"mw":       (*Console).mw,
		"crc32":    (*Console).crc32,
		"sf":       (*Console).sf,
		"setenv":   (*Console).setenv,
		"nand":     (*Console).nandCommand,
		"mmc":      (*Console).mmcCommand,
		"tftpput":  (*Console).upload,
		"tftp":     (*Console).upload,
	}
	for _, inert := range []string{"saveenv", "erase", "protect", "cp", "boot", "bootm", "run", "go", "reset"} {
		commands[inert] = text(func(*Console) string { return "" })
	}
}

// lacks reports whether the unit has no memory for a command.
func (c *Console) lacks(name string) bool {
	if name == "tftpput" || name == "tftp" {
		return c.config.Upload.Command != name
	}
	return name == "sf" && c.spi == nil || name == "nand" && c.nand == nil || name == "mmc" && c.mmc == nil || name == "flinfo" && len(c.config.NOR) == 0
}

func (c *Console) help() string {
	var names []string
	for name := range commands {
		if !slices.Contains(c.config.Missing, name) && !c.lacks(name) {
			names = append(names, name)
		}
	}
	for line := range c.config.Answers {
		if name, _, _ := strings.Cut(line, " "); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "%-10s- %s command\n", name, name)
	}
	return b.String()
}

func (c *Console) version() string {
	if c.config.Quirks.LongLines {
		return strings.Repeat("U-Boot ", 150_000) + "\n"
	}
	return strings.Join(c.config.Version, "\n") + "\n"
}

func (c *Console) printenv() string {
	all := strings.Join(c.config.Env, "\n")
	return fmt.Sprintf("%s\n\nEnvironment size: %d/65532 bytes\n", all, len(all))
}

func (c *Console) flinfo() string {
	var b strings.Builder
	for i, f := range c.config.NOR {
		const sector = 64 << 10
		size := fmt.Sprintf("%d MB", f.Size>>20)
		if f.Size < 1<<20 {
			size = fmt.Sprintf("%d kB", f.Size>>10)
		}
		fmt.Fprintf(&b, "\nBank # %d: CFI conformant flash (16 x 16)  Size: %s in %d Sectors\n", i+1, size, (f.Size+sector-1)/sector)
		if maker, device, ok := strings.Cut(f.JEDEC, " "); ok {
			fmt.Fprintf(&b, "  Intel Extended command set, Manufacturer ID: %s, Device ID: %s\n", maker, device)
		}
		b.WriteString("\n  Sector Start Addresses:")
		for at := int64(0); at < f.Size; at += sector {
			if at/sector%5 == 0 {
				b.WriteString("\n")
			}
			fmt.Fprintf(&b, "  %08X      ", f.Address+uint64(at))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func hex(words []string, i int, otherwise uint64) uint64 {
	if i >= len(words) {
		return otherwise
	}
	v, err := strconv.ParseUint(strings.TrimPrefix(words[i], "0x"), 16, 64)
	if err != nil {
		return otherwise
	}
	return v
}

func (c *Console) crc32(_ context.Context, words []string) (string, error) {
	address, size := hex(words, 1, 0), min(hex(words, 2, 0), 64<<20)
	b := make([]byte, size)
	c.memory.read(address, b)
	sum := crc32.ChecksumIEEE(b)
	if c.config.Quirks.CRCLies {
		sum ^= 0x5a5a5a5a
	}
	name := "crc32"
	if c.config.Quirks.UpperCRC {
		name = "CRC32"
	}
	return strings.Join(words, " "), c.print(fmt.Sprintf("%s for %08x ... %08x ==> %08x\n", name, address, address+size-1, sum))
}

func (c *Console) mw(_ context.Context, words []string) (string, error) {
	b := make([]byte, min(hex(words, 3, 1), 64<<20))
	for i := range b {
		b[i] = byte(hex(words, 2, 0))
	}
	if err := c.memory.write(hex(words, 1, 0), b); err != nil {
		return "", errPower
	}
	return strings.Join(words, " "), nil
}

// setenv knows the one variable that does something at once: it waits for Enter
// at the new rate.
func (c *Console) setenv(ctx context.Context, words []string) (string, error) {
	if len(words) != 3 || words[1] != "baudrate" {
		if len(words) == 3 {
			c.variables[words[1]] = words[2]
		}
		return strings.Join(words, " "), nil
	}
	baud, _ := strconv.Atoi(words[2])
	if baud != c.config.Baud && !slices.Contains(c.config.Rates, baud) {
		return "", c.print(fmt.Sprintf("## Baudrate %d bps not supported\n", baud))
	}
	if err := c.print(fmt.Sprintf("## Switch baudrate to %d bps and press ENTER ...\n", baud)); err != nil {
		return "", err
	}
	time.Sleep(50 * time.Millisecond)
	c.line.baud = baud
	for {
		k, err := c.key(ctx, time.Hour)
		if err != nil && !errors.Is(err, errIdle) {
			return "", err
		}
		if err == nil && k == '\r' {
			return "", nil
		}
	}
}

func (c *Console) sf(_ context.Context, words []string) (string, error) {
	line := strings.Join(words, " ")
	f := c.config.SPI
	switch {
	case len(words) >= 2 && words[1] == "probe":
		c.probed = true
		return line, c.print(fmt.Sprintf("SF: Detected %s with page size 256 Bytes, erase size 64 KiB, total %d MiB\n", f.Part, f.Size>>20))
	case len(words) == 5 && words[1] == "read":
		at, size := hex(words, 3, 0), hex(words, 4, 0)
		if !c.probed && !c.config.Quirks.SPINeedsProbe {
			return line, c.print("No SPI flash selected. Please run `sf probe'\n")
		}
		if size > uint64(len(c.spi)) || at > uint64(len(c.spi))-size {
			return line, c.print("ERROR: attempting read past flash size\n")
		}
		if !c.probed {
			return line, nil
		}
		b := slices.Clone(c.spi[at : at+size])
		if flip := uint64(c.config.Quirks.SPIFlipAt); c.flips < c.config.Quirks.SPIFlips && flip >= at && flip < at+size {
			c.flips++
			b[flip-at] ^= 0x10
		}
		if err := c.memory.write(hex(words, 2, 0), b); err != nil {
			return "", errPower
		}
		return line, c.print(fmt.Sprintf("device 0 offset %#x, size %#x\nSF: %d bytes @ %#x Read: OK\n", at, size, size, at))
	}
	return line, c.print("sf - SPI flash sub-system\n\nUsage:\nsf probe [[bus:]cs] [hz] [mode]\nsf read addr offset|partition len\n")
}

// md prints memory. What is typed meanwhile is lost, but for Ctrl-C.
func (c *Console) md(ctx context.Context, words []string) (string, error) {
	_, letter, _ := strings.Cut(words[0], ".")
	width := map[string]int{"b": 1, "w": 2, "l": 4, "": 4, "q": 8}[letter]
	if width == 0 || len(words) < 2 || slices.Contains(c.config.Missing, words[0]) {
		return "", c.print("md - memory display\n\nUsage:\nmd [.b, .w, .l] address [# of objects]\n")
	}
	address, count := hex(words, 1, 0), hex(words, 2, 0x40)
	left := min(count, 1<<24) * uint64(width)
	at := address
	if c.config.Quirks.WrongAddress {
		at += 16
	}
	for n := 1; left > 0; n++ {
		size := min(left, 16)
		b := make([]byte, size)
		c.memory.read(at, b)
		if err := c.print(c.mdLine(at, b, width)); err != nil {
			return "", err
		}
		at, left = at+size, left-size
		if q := c.config.Quirks.ResetAfter; q > 0 && n >= q && !c.reset {
			c.reset = true
			c.print("\n")
			return "", errPower
		}
		switch k, err := c.key(ctx, 0); {
		case err == nil && k == 3:
			return "", c.print("<INTERRUPT>\n")
		case err != nil && !errors.Is(err, errIdle):
			return "", err
		}
	}
	return fmt.Sprintf("%s %x %x", words[0], at, count), nil
}

func (c *Console) mdLine(at uint64, b []byte, width int) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%08x:", at)
	for i := 0; i < len(b); i += width {
		s.WriteByte(' ')
		for j := range width {
			o := width - 1 - j
			if c.config.Quirks.BigEndian {
				o = j
			}
			fmt.Fprintf(&s, "%02x", b[i+o])
		}
	}
	for i := len(b); i < 16; i += width {
		s.WriteString(strings.Repeat(" ", 1+2*width))
	}
	c.lines++
	if q := c.config.Quirks.MessageEvery; q > 0 && c.lines%q == 0 {
		fmt.Fprintf(&s, "\n[%5d.%06d] random: crng init done\n", c.lines/1000, c.lines)
	}
	gap := "  "
	if c.config.Quirks.OldMd {
		gap = "    "
	}
	s.WriteString(gap)
	for _, k := range b {
		if k < 0x20 || k > 0x7e {
			k = '.'
		}
		s.WriteByte(k)
	}
	s.WriteByte('\n')
	return s.String()
}
