// Package console simulates a camera's serial console: a U-Boot-like boot loader
// behind a pseudo-terminal, so that what reads real consoles can be shown and
// tested without hardware. A unit is a data file; its quirks are those that
// real lines and loaders have.
//
// It behaves as U-Boot does where that matters to a reader: an empty Enter
// repeats the last command and md goes on at the next address, what is typed
// while md prints is thrown away and Ctrl-C aborts it, and the answers have
// U-Boot's formats (cmd/mem.c, lib/display_options.c, drivers/mtd/cfi_flash.c,
// drivers/mtd/spi/spi-nor-core.c). It boots nothing, and commands that would
// change a unit are noted in its log and do nothing.
//
// It needs a system with pseudo-terminals: not Windows.
package console

import (
	"embed"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Config is one simulated unit.
type Config struct {
	Name   string   `yaml:"name"`
	Start  State    `yaml:"start"`
	Banner []string `yaml:"banner"` // printed at power-on
	Boot   Autoboot `yaml:"autoboot"`
	// Prompt is as printed, with its final space.
	Prompt  string   `yaml:"prompt"`
	Version []string `yaml:"version"`
	Env     []string `yaml:"env"` // name=value, in the order of printenv
	Bdinfo  []string `yaml:"bdinfo"`
	// Answers are fixed answers by command line, as in "fdt print / model".
	Answers map[string]string `yaml:"answers"`
	RAM     Range             `yaml:"ram"`
	NOR     []Flash           `yaml:"nor"`  // mapped flash, shown by flinfo
	SPI     *Flash            `yaml:"spi"`  // flash behind sf
	NAND    *NAND             `yaml:"nand"` // flash behind nand
	MMC     *Flash            `yaml:"mmc"`  // eMMC behind mmc
	Upload  Uploads           `yaml:"upload"`
	Missing []string          `yaml:"missing"`
	Kernel  []string          `yaml:"kernel"` // printed when autoboot is not stopped; the last line stays open, as a login prompt does
	Baud    int               `yaml:"baud"`   // the unit's rate; 0: any
	Rates   []int             `yaml:"rates"`  // that "setenv baudrate" takes besides
	Quirks  Quirks            `yaml:"quirks"`
}

// State is where a unit is when the console starts.
type State string

// The states.
const (
	StateBoot   State = "boot"   // it was just switched on
	StatePrompt State = "prompt" // it waits at its prompt
	StateLinux  State = "linux"  // it has booted
	StateOff    State = "off"    // until PowerCycle
	StateTouch  State = "touch"  // off until the first byte arrives
)

// Autoboot is how the boot is stopped.
type Autoboot struct {
	Seconds int    `yaml:"seconds"`
	Text    string `yaml:"text"`     // before the countdown
	Key     string `yaml:"key"`      // empty: any
	Ask     string `yaml:"ask"`      // a password prompt before the command prompt
	Secret  string `yaml:"secret"`   // its answer
	StopStr bool   `yaml:"stop_str"` // Secret is a stop string: the first key decides
}

// Range is a range of addresses.
type Range struct {
	Start uint64 `yaml:"start"`
	Size  uint64 `yaml:"size"`
}

// Flash is one flash memory. Its content is Content, or the file Image, at
// offset 0; the rest is erased.
type Flash struct {
	Address uint64 `yaml:"address"`
	Size    int64  `yaml:"size"`
	Part    string `yaml:"part"` // SPI: as in XM25QH128C
	JEDEC   string `yaml:"jedec"`
	Image   string `yaml:"image"`
	Content []byte `yaml:"-"`
}

// Uploads is how the loader sends memory over the network.
type Uploads struct {
	Command string `yaml:"command"` // "tftpput", or "tftp" as HiSilicon's loaders have it; empty: it cannot
	Port    int    `yaml:"port"`    // of the server; 69 when 0
	Spoil   bool   `yaml:"spoil"`   // one byte is wrong each time
}

// NAND is a flash whose blocks may be bad from the factory on.
type NAND struct {
	Flash `yaml:",inline"`
	Erase int64   `yaml:"erase"` // bytes in a block
	Bad   []int64 `yaml:"bad"`   // numbers of blocks
}

// Quirks are a unit's and its line's faults.
type Quirks struct {
	Silent        bool `yaml:"silent"`
	FlipOneIn     int  `yaml:"flip_one_in"`   // bytes of output; one bit is changed
	DropOneIn     int  `yaml:"drop_one_in"`   // bytes of output
	MessageEvery  int  `yaml:"message_every"` // lines of md: a message in the middle of one
	ResetAfter    int  `yaml:"reset_after"`   // lines of md, once
	BytesPerSec   int  `yaml:"bytes_per_sec"` // 0: as fast as it goes
	NoEcho        bool `yaml:"no_echo"`
	OldMd         bool `yaml:"old_md"` // four spaces before the text column
	BigEndian     bool `yaml:"big_endian"`
	UpperCRC      bool `yaml:"upper_crc"` // "CRC32 for"
	CRCLies       bool `yaml:"crc_lies"`
	WrongAddress  bool `yaml:"wrong_address"`   // md starts a line too far
	Endless       bool `yaml:"endless"`         // never stops talking
	LongLines     bool `yaml:"long_lines"`      // version answers with a line of 1 MB
	SPINeedsProbe bool `yaml:"spi_needs_probe"` // sf read silently does nothing before sf probe
	SPIFlips      int  `yaml:"spi_flips"`       // so many times sf read gets one bit wrong, always the same
	SPIFlipAt     int  `yaml:"spi_flip_at"`     // the byte in the flash whose bit it is
}

//go:embed units/*.yaml
var units embed.FS

// Units returns the names of the units that ship with the program.
func Units() []string {
	entries, err := units.ReadDir("units")
	if err != nil {
		panic(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// Load returns a unit that ships with the program. Flash whose image the caller
// gives is filled in by [Config.WithImage].
func Load(name string) (Config, error) {
	b, err := units.ReadFile(path.Join("units", name+".yaml"))
	if err != nil {
		return Config{}, fmt.Errorf("simulated console %q: there are %s", name, strings.Join(Units(), ", "))
	}
	return Parse(b)
}

// Parse reads a unit's data file and checks it.
func Parse(b []byte) (Config, error) {
	var c Config
	d := yaml.NewDecoder(strings.NewReader(string(b)))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("simulated console: %w", err)
	}
	return c, c.check()
}

// WithImage returns the unit with the file at path in its first flash.
func (c Config) WithImage(path string) Config {
	if len(c.NOR) > 0 {
		c.NOR = slices.Clone(c.NOR)
		c.NOR[0].Image = path
	} else if c.SPI != nil {
		spi := *c.SPI
		spi.Image = path
		c.SPI = &spi
	}
	return c
}

const maxFlash = 256 << 20

func (c Config) check() error {
	if c.Prompt == "" && !c.Quirks.Silent {
		return fmt.Errorf("simulated console %s: no prompt", c.Name)
	}
	for _, f := range c.NOR {
		if f.Size <= 0 || f.Size > maxFlash {
			return fmt.Errorf("simulated console %s: flash of %d bytes", c.Name, f.Size)
		}
	}
	if c.SPI != nil && (c.SPI.Size <= 0 || c.SPI.Size > maxFlash) {
		return fmt.Errorf("simulated console %s: SPI flash of %d bytes", c.Name, c.SPI.Size)
	}
	for _, v := range c.Env {
		if !strings.Contains(v, "=") {
			return fmt.Errorf("simulated console %s: env %q is not name=value", c.Name, v)
		}
	}
	return nil
}

// content returns the whole flash.
func (f Flash) content() ([]byte, error) {
	b := f.Content
	if f.Image != "" {
		var err error
		if b, err = os.ReadFile(f.Image); err != nil {
			return nil, fmt.Errorf("simulated flash: %w", err)
		}
	}
	if int64(len(b)) > f.Size {
		return nil, fmt.Errorf("simulated flash: an image of %d bytes does not fit into %d", len(b), f.Size)
	}
	whole := make([]byte, f.Size)
	for i := copy(whole, b); i < len(whole); i++ {
		whole[i] = 0xff
	}
	return whole, nil
}
