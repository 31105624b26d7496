package shell

import (
	"bytes"
	_ "embed"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"assay/attest"
)

//go:embed places.yaml
var placesFile []byte

// place is a file of a maker's, and what stands in it.
type place struct {
	Path     string            `yaml:"path"`
	Subject  attest.Subject    `yaml:"subject"`
	Name     string            `yaml:"name"`
	Pattern  string            `yaml:"pattern"`
	Source   string            `yaml:"source"`
	Examples map[string]string `yaml:"examples"`

	re *regexp.Regexp
}

type places struct {
	Schema       string  `yaml:"schema"`
	Date         string  `yaml:"date"`
	Files        []place `yaml:"files"`
	Placeholders []struct {
		MAC    string `yaml:"mac"`
		Says   string `yaml:"says"`
		Source string `yaml:"source"`
	} `yaml:"placeholders"`
	UARTs []struct {
		Base   uint64 `yaml:"base"`
		Family string `yaml:"family"`
		Maker  string `yaml:"maker"`
		Source string `yaml:"source"`
	} `yaml:"uarts"`
}

var known = func() *places {
	p, err := parsePlaces(placesFile)
	if err != nil {
		panic(err) // a test parses the same bytes
	}
	return p
}()

func parsePlaces(b []byte) (*places, error) {
	var p places
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&p); err != nil {
		return nil, fmt.Errorf("places.yaml: %w", err)
	}
	for i := range p.Files {
		f := &p.Files[i]
		re, err := regexp.Compile(f.Pattern)
		if err != nil {
			return nil, fmt.Errorf("places.yaml: %s: %w", f.Path, err)
		}
		if f.Subject == "" || f.Name == "" || f.Source == "" || len(f.Examples) == 0 {
			return nil, fmt.Errorf("places.yaml: %s: needs subject, name, source and examples", f.Path)
		}
		f.re = re
		for text, want := range f.Examples {
			if got := f.value(text); got != want {
				return nil, fmt.Errorf("places.yaml: %s: example %q gives %q, want %q", f.Path, text, got, want)
			}
		}
	}
	return &p, nil
}

// value is what a file's text says.
func (f *place) value(text string) string {
	if m := f.re.FindStringSubmatch(text); m != nil {
		return m[len(m)-1]
	}
	return ""
}

// placeholder says why an address names no unit; empty where it may.
func (p *places) placeholder(mac string) string {
	for _, x := range p.Placeholders {
		if strings.EqualFold(x.MAC, mac) {
			return x.Says
		}
	}
	return ""
}

// Files that are read of every unit, in groups that stand in one answer. Each is
// a name or a pattern, as it is typed. Found by name and not by a search: a
// search through /sys takes minutes on a slow unit.
var (
	systemFiles = []string{
		"/proc/cpuinfo", "/proc/version", "/proc/cmdline", "/proc/mtd", "/proc/modules", "/proc/iomem",
		"/proc/device-tree/model", "/proc/device-tree/compatible", "/proc/device-tree/serial-number",
		"/etc/*version*", "/etc/*release*", "/etc/issue",
	}
	flashFiles = []string{
		"/sys/class/mtd/mtd*[0-9]/offset", "/sys/class/mtd/mtd*[0-9]/type", "/sys/class/mtd/mtd*[0-9]/writesize", "/sys/class/mtd/mtd*[0-9]/bad_blocks",
		"/sys/bus/spi/devices/*/spi-nor/jedec_id", "/sys/bus/spi/devices/*/spi-nor/manufacturer", "/sys/bus/spi/devices/*/spi-nor/partname",
	}
	mmcFiles = []string{
		"/sys/block/mmcblk*/size", "/sys/block/mmcblk*/device/type", "/sys/block/mmcblk*/device/name", "/sys/block/mmcblk*/device/cid",
		"/sys/block/mmcblk*/device/manfid", "/sys/block/mmcblk*/device/serial",
		"/sys/block/mmcblk*/mmcblk*p*/start", "/sys/block/mmcblk*/mmcblk*p*/size", "/sys/block/mmcblk*/mmcblk*p*/uevent",
	}
	chipFiles = []string{
		"/sys/devices/soc0/machine", "/sys/devices/soc0/family", "/sys/devices/soc0/soc_id", "/sys/devices/soc0/revision", "/sys/devices/soc0/serial_number",
		"/sys/class/net/*/address", "/sys/class/net/*/addr_assign_type",
		"/sys/bus/nvmem/devices/factory-otp0/nvmem",
	}
)

// vendorFiles are the makers' files.
func vendorFiles() []string {
	var all []string
	for _, f := range known.Files {
		all = append(all, f.Path)
	}
	return all
}

// readable are all paths that may be typed to be read.
var readable = func() map[string]bool {
	all := map[string]bool{probeFile: true}
	for _, group := range [][]string{systemFiles, flashFiles, mmcFiles, chipFiles, vendorFiles()} {
		for _, f := range group {
			all[f] = true
		}
	}
	return all
}()
