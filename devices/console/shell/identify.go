package shell

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/line"
	"assay/devices/fingerprint"
)

// Identify reads what the system shows of the unit and finds its flash. A part
// that gave nothing is a problem in the sink; an error says that the line or the
// shell is lost.
func (p *Prompt) Identify(ctx context.Context, sink devices.Sink) error {
	if err := p.Meet(ctx); err != nil {
		return err
	}
	p.o.Progress("reading the identifiers that the system shows")
	r := &reader{p: p, ctx: ctx, sink: sink, files: map[string]string{}, named: map[attest.Subject]bool{}}
	defer r.mark()
	for _, group := range [][]string{systemFiles, chipFiles, flashFiles, mmcFiles, vendorFiles()} {
		if err := r.read(group); err != nil {
			return err
		}
	}
	if err := r.readLog(); err != nil {
		return err
	}
	r.fromSystem()
	r.fromDeviceTree()
	r.fromCPU()
	r.fromChip()
	r.fromNetwork()
	r.fromVendor()
	r.fromFlash()
	r.fromMMC()
	return r.findDevices()
}

// reader turns files into claims.
type reader struct {
	p     *Prompt
	ctx   context.Context
	sink  devices.Sink
	files map[string]string
	raws  map[string]attest.Digest
	log   kernelLog
	named map[attest.Subject]bool
	seen  []fingerprint.Observation
	mtd   []mtdRow
}

func (r *reader) read(group []string) error {
	files, err := r.p.readFiles(r.ctx, group)
	maps.Copy(r.files, files)
	if errors.Is(err, devices.ErrMalformed) || errors.Is(err, devices.ErrHostile) {
		r.problem(err, strings.Join(group, " "))
		return nil
	}
	return err
}

// readLog reads the kernel's log. Without the right to it there is none.
func (r *reader) readLog() error {
	b, err := r.p.readDmesg(r.ctx)
	if err != nil && !errors.Is(err, devices.ErrMalformed) && !errors.Is(err, devices.ErrHostile) {
		return err
	}
	if err != nil {
		r.problem(err, "dmesg")
	}
	r.p.dmesg = b
	if len(b) > 0 {
		text := line.WithoutSecrets(string(b))
		raw := r.sink.Artefact("text/plain", "linux dmesg", []byte(text))
		r.raw("dmesg", raw)
		r.observe("linux.dmesg", text, "dmesg")
		r.log = parseDmesg(string(b))
	}
	return nil
}

// Dmesg is the kernel's log as Identify read it.
func (p *Prompt) Dmesg() []byte { return p.dmesg }

func (r *reader) problem(err error, source string) {
	r.sink.Problem(devices.ProblemKindOf(err), "linux "+source, err.Error())
}

func (r *reader) raw(name string, d attest.Digest) {
	if r.raws == nil {
		r.raws = map[string]attest.Digest{}
	}
	r.raws[name] = d
}

// text returns a file and keeps it as an artefact once.
func (r *reader) text(name string) string {
	content, ok := r.files[name]
	if !ok {
		return ""
	}
	if _, kept := r.raws[name]; !kept && content != "" {
		r.raw(name, r.sink.Artefact("text/plain", "linux "+name, []byte(line.WithoutSecrets(content))))
	}
	return content
}

// claim tells what a file says. Its source begins with the file's name.
func (r *reader) claim(subject attest.Subject, name, value, source string) {
	value = strings.TrimSpace(printable(line.WithoutSecrets(value)))
	if value == "" || len(value) > 4<<10 {
		return
	}
	file, _, _ := strings.Cut(source, " ")
	r.sink.Claim(attest.Claim{Subject: subject, Name: name, Value: value, Source: "linux " + source, Acquisition: attest.A1, Raw: r.raws[file]})
}

// name claims what a board or SoC is called. The system has several names for
// one thing, so only the first is the name that other channels are compared
// with; the others are told as what they are.
func (r *reader) name(subject attest.Subject, other, value, source string) {
	if strings.TrimSpace(printable(value)) == "" {
		return
	}
	if r.named[subject] {
		r.claim(subject, other, value, source)
		return
	}
	r.named[subject] = true
	r.claim(subject, attest.NameBoard, value, source)
}

// observe notes what may tell whose work the system is.
func (r *reader) observe(on, value, source string) {
	file, _, _ := strings.Cut(source, " ")
	if value = strings.TrimSpace(value); value != "" && len(value) <= textMax {
		r.seen = append(r.seen, fingerprint.Observation{On: on, Value: value, Source: "linux " + source, Raw: r.raws[file]})
	}
}

// mark gives the sink whose work the system is, whatever it says of its maker.
func (r *reader) mark() {
	for _, m := range r.p.o.Rules.Match(r.seen) {
		r.sink.Mark(m)
	}
}

// matching are the names of files below a folder with an end, sorted.
func (r *reader) matching(folder, end string) []string {
	var all []string
	for name := range r.files {
		if strings.HasPrefix(name, folder) && strings.HasSuffix(name, end) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// fromSystem claims what runs.
func (r *reader) fromSystem() {
	r.claim(attest.SubjectFirmware, "kernel", firstLine(r.text("/proc/version")), "/proc/version")
	r.claim(attest.SubjectFirmware, "cmdline", firstLine(r.text("/proc/cmdline")), "/proc/cmdline")
	r.observe("linux.cmdline", r.text("/proc/cmdline"), "/proc/cmdline")
	for _, name := range r.matching("/etc/", "") {
		text := r.text(name)
		if all := parseRelease(text); name == "/etc/os-release" {
			r.claim(attest.SubjectFirmware, "os", firstNonEmpty(valueOf(all, "PRETTY_NAME"), valueOf(all, "NAME")), name+" PRETTY_NAME")
			r.claim(attest.SubjectFirmware, "os-version", firstNonEmpty(valueOf(all, "VERSION_ID"), valueOf(all, "VERSION")), name+" VERSION")
			continue
		}
		r.claim(attest.SubjectFirmware, "release", firstLine(text), name)
	}
	modules := parseModules(r.text("/proc/modules"))
	r.claim(attest.SubjectFirmware, "modules", strings.Join(modules, " "), "/proc/modules")
	r.observe("linux.modules", strings.Join(modules, "\n"), "/proc/modules")
	r.claim(attest.SubjectFirmware, "prompt", r.p.prompt, "prompt")
	if r.p.user != "" {
		r.claim(attest.SubjectFirmware, "console-lock", "login as "+r.p.user, "login")
	}
}

// fromDeviceTree claims what the boot loader told the kernel of the board.
func (r *reader) fromDeviceTree() {
	const tree = "/proc/device-tree/"
	r.name(attest.SubjectBoard, "fdt.model", strings.Join(deviceTreeStrings(r.text(tree+"model")), " "), tree+"model")
	compatible := deviceTreeStrings(r.text(tree + "compatible"))
	r.claim(attest.SubjectBoard, "fdt.compatible", strings.Join(compatible, " "), tree+"compatible")
	r.observe("linux.compatible", strings.Join(compatible, "\n"), tree+"compatible")
	r.serial(strings.Join(deviceTreeStrings(r.text(tree+"serial-number")), " "), tree+"serial-number")
}

// serial claims a serial number, unless it is one that nobody gave.
func (r *reader) serial(value, source string) {
	if strings.Trim(value, "0xXfF-: ") == "" {
		return
	}
	r.claim(attest.SubjectUnit, attest.NameSerial, value, source)
	r.observe("serial", value, source)
}

// fromCPU claims what /proc/cpuinfo says of the board and the SoC.
func (r *reader) fromCPU() {
	const file = "/proc/cpuinfo"
	all := parseCPUInfo(r.text(file))
	for _, x := range []string{"Hardware", "system type", "machine"} {
		value := valueOf(all, x)
		if value == "" {
			continue
		}
		r.observe("linux.cpuinfo", value, file+" "+x)
		r.observe("soc", value, file+" "+x)
		switch {
		case strings.HasPrefix(value, "Generic"): // "Generic DT based system" names nothing
			r.claim(attest.SubjectSoC, "cpuinfo."+strings.ReplaceAll(strings.ToLower(x), " ", "-"), value, file+" "+x)
		case x == "machine":
			r.name(attest.SubjectBoard, "cpuinfo.machine", value, file+" "+x)
		default:
			// soc0 names the SoC better, where there is one.
			if r.files["/sys/devices/soc0/soc_id"] != "" {
				r.claim(attest.SubjectSoC, "cpuinfo."+strings.ReplaceAll(strings.ToLower(x), " ", "-"), value, file+" "+x)
			} else {
				r.name(attest.SubjectSoC, "cpuinfo."+strings.ReplaceAll(strings.ToLower(x), " ", "-"), value, file+" "+x)
			}
		}
	}
	r.claim(attest.SubjectSoC, "cpu", firstNonEmpty(valueOf(all, "model name"), valueOf(all, "cpu model"), valueOf(all, "Processor")), file)
	r.serial(valueOf(all, "Serial"), file+" Serial")
	if r.log.machine != "" {
		r.name(attest.SubjectBoard, "dmesg.machine", r.log.machine, "dmesg Machine")
	}
}

// fromChip claims what /sys/devices/soc0 (Documentation/ABI/testing/sysfs-devices-soc)
// and the flash's one-time memory say.
func (r *reader) fromChip() {
	const soc = "/sys/devices/soc0/"
	r.name(attest.SubjectSoC, "soc0.soc_id", firstLine(r.text(soc+"soc_id")), soc+"soc_id")
	r.observe("soc", firstLine(r.text(soc+"soc_id")), soc+"soc_id")
	for _, x := range []string{"family", "revision"} {
		r.claim(attest.SubjectSoC, x, firstLine(r.text(soc+x)), soc+x)
	}
	r.observe("soc", firstLine(r.text(soc+"family")), soc+"family")
	r.name(attest.SubjectBoard, "soc0.machine", firstLine(r.text(soc+"machine")), soc+"machine")
	if n := firstLine(r.text(soc + "serial_number")); strings.Trim(n, "0x") != "" {
		r.claim(attest.SubjectSoC, attest.NameSerial, n, soc+"serial_number")
	}
	const otp = "/sys/bus/nvmem/devices/factory-otp0/nvmem"
	if b := r.files[otp]; len(b) >= 8 && strings.Trim(b, "\x00") != "" && strings.ReplaceAll(b, "\xff", "") != "" {
		r.text(otp)
		r.claim(attest.SubjectFlash, "unique-id", fmt.Sprintf("%x", b[:min(len(b), 32)]), otp)
	}
}

// fromNetwork claims the addresses of the interfaces.
func (r *reader) fromNetwork() {
	const folder = "/sys/class/net/"
	for _, name := range r.matching(folder, "/address") {
		device := strings.TrimSuffix(strings.TrimPrefix(name, folder), "/address")
		mac, err := net.ParseMAC(firstLine(r.text(name)))
		if err != nil || len(mac) != 6 || device == "lo" {
			continue
		}
		value := strings.ToUpper(mac.String())
		if why := known.placeholder(value); why != "" {
			r.claim(attest.SubjectNetwork, "mac-placeholder", value+" ("+why+")", name)
			r.sink.Problem(attest.ProblemIncomplete, "linux "+name, fmt.Sprintf("%s of %s is a placeholder (%s): it does not tell this unit from others", value, device, why))
			continue
		}
		// addr_assign_type 1 is NET_ADDR_RANDOM (Linux include/uapi/linux/netdevice.h).
		if firstLine(r.files[folder+device+"/addr_assign_type"]) == "1" {
			r.claim(attest.SubjectNetwork, "mac-random", value, name)
			r.sink.Problem(attest.ProblemIncomplete, "linux "+name, fmt.Sprintf("%s of %s was made up at this start: it does not tell this unit from others", value, device))
			continue
		}
		r.claim(attest.SubjectUnit, attest.NameMAC, value, name)
	}
}

// fromVendor claims what makers' files say, and the family that the place of the
// first serial port shows.
func (r *reader) fromVendor() {
	for i := range known.Files {
		f := &known.Files[i]
		value := f.value(r.text(f.Path))
		if f.Subject == attest.SubjectUnit && f.Name == attest.NameSerial {
			r.serial(value, f.Path)
			continue
		}
		r.claim(f.Subject, f.Name, value, f.Path)
	}
	base, ok := firstUART(r.text("/proc/iomem"))
	if !ok {
		return
	}
	says := strings.ToLower(r.files["/proc/cpuinfo"] + r.files["/proc/device-tree/compatible"] + r.files["/proc/modules"])
	for _, u := range known.UARTs {
		// One place in memory is many makers' serial port: the system has to name
		// this one as well.
		if u.Base == base && (u.Maker == "hisi" && (strings.Contains(says, "hisi") || strings.Contains(says, "hi35") || strings.Contains(says, "gk7")) || u.Maker == "xm" && strings.Contains(says, "xm5")) {
			r.claim(attest.SubjectSoC, "family", u.Family, fmt.Sprintf("/proc/iomem serial port at %#x", base))
		}
	}
}

func firstNonEmpty(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}
