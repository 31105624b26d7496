package uboot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/bootlog"
	"assay/devices/console/line"
	"assay/devices/fingerprint"
)

// Identify reads what the prompt knows about the unit, after [Prompt.Meet]. Answers
// are kept without the values of variables that hold passwords by name.
func (p *Prompt) Identify(ctx context.Context, sink devices.Sink) error {
	r := &reader{Prompt: p, sink: sink, ctx: ctx, named: map[attest.Subject]bool{}, values: map[string][]string{}}
	defer r.mark()
	return r.identify()
}

// reader asks the questions one after the other.
type reader struct {
	*Prompt
	sink  devices.Sink
	ctx   context.Context
	help  map[string]bool
	env   map[string]string
	raw   attest.Digest // of the answer that claims are made from
	named map[attest.Subject]bool
	// values are what was claimed, in lower case, by subject and name.
	values map[string][]string
	seen   []fingerprint.Observation
}

func (r *reader) identify() error {
	r.fromVersion()
	for _, question := range []func() error{
		r.readHelp, r.readBdinfo, r.readEnv, r.fromBoot, r.readFdt, r.readSoC, r.readNOR, r.readSPI, r.readNAND, r.readMMC, r.readMtd,
	} {
		if err := question(); err != nil {
			return err
		}
	}
	return nil
}

// askFor sends a command and keeps the answer. ok is false where this part gave
// nothing; err only where the line is lost.
func (r *reader) askFor(command string) (answer string, ok bool, err error) {
	answer, err = r.askAgain(r.ctx, command)
	switch {
	case errors.Is(err, errGarbled), errors.Is(err, devices.ErrHostile):
		r.problem(err, command)
		return "", false, nil
	case err != nil:
		return "", false, err
	case unknown(answer):
		return "", false, nil
	}
	r.raw = r.sink.Artefact("text/plain", "uboot "+command, []byte(line.WithoutSecrets(answer)))
	return answer, true, nil
}

func (r *reader) problem(err error, command string) {
	r.sink.Problem(devices.ProblemKindOf(err), "uboot "+command, err.Error())
}

func (r *reader) claim(subject attest.Subject, name, value, source string) {
	value = strings.TrimSpace(printable(value))
	if value == "" || len(value) > 4<<10 {
		return
	}
	key := string(subject) + " " + name
	r.values[key] = append(r.values[key], strings.ToLower(value))
	r.sink.Claim(attest.Claim{Subject: subject, Name: name, Value: value, Source: "uboot " + source, Acquisition: attest.A2, Raw: r.raw})
}

// printable leaves out what could move a reader's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// name claims what a board or SoC is called. The loader has several names for
// one thing, so only the first is the name that other channels are compared
// with; the others are told as what they are.
func (r *reader) name(subject attest.Subject, other, value, source string) {
	if r.named[subject] {
		r.claim(subject, other, value, source)
		return
	}
	r.named[subject] = strings.TrimSpace(value) != ""
	r.claim(subject, attest.NameBoard, value, source)
}

// fromVersion reads the answer that the prompt was recognised by.
func (r *reader) fromVersion() {
	r.raw = r.sink.Artefact("text/plain", "uboot version", []byte(r.version))
	if m := loaderVersion.FindStringSubmatch(r.version); m != nil {
		r.claim(attest.SubjectBootLoader, attest.NameFirmwareVersion, m[1], "version")
		r.claim(attest.SubjectBootLoader, attest.NameBuildDate, m[2], "version")
	}
	r.claim(attest.SubjectBootLoader, "prompt", r.text, "prompt")
	r.observe("uboot.prompt", r.text, "prompt")
	r.observe("uboot.version", r.version, "version")
}

// fromBoot reads the boot log where a boot was seen. What the prompt has said
// already is not said twice, since both are the loader's word; what differs from it
// is.
func (r *reader) fromBoot() error {
	if len(r.o.Boot) == 0 {
		return nil
	}
	r.raw = r.sink.Artefact("text/plain", "boot log", []byte(line.WithoutSecrets(string(r.o.Boot))))
	r.observe("uboot.banner", string(r.o.Boot), "banner")
	facts := bootlog.Parse(r.o.Boot)
	var fresh []bootlog.Fact
	for _, f := range facts {
		if r.said(f.Subject, f.Name, f.Value) {
			continue
		}
		if f.Name == attest.NameBoard {
			if r.named[f.Subject] {
				f.Name = "boot-log.name"
			}
			r.named[f.Subject] = true
		}
		fresh = append(fresh, f)
	}
	bootlog.Claims(fresh, r.sink, r.raw, "boot log")
	r.seen = append(r.seen, bootlog.Observations(r.o.Boot, facts, r.raw, "boot log")...)
	return nil
}

// said reports whether the prompt has told the same thing, perhaps in more or
// fewer words.
func (r *reader) said(subject attest.Subject, name, value string) bool {
	value = strings.ToLower(value)
	for _, was := range r.values[string(subject)+" "+name] {
		if strings.HasPrefix(was, value) || strings.HasPrefix(value, was) {
			return true
		}
	}
	return false
}

// observe notes what may tell whose work the loader is.
func (r *reader) observe(on, value, source string) {
	if value = strings.TrimSpace(value); value != "" && len(value) <= 64<<10 {
		r.seen = append(r.seen, fingerprint.Observation{On: on, Value: value, Source: "uboot " + source, Raw: r.raw})
	}
}

// mark gives the sink whose work the loader's answers are, whatever it says of
// its maker.
func (r *reader) mark() {
	for _, m := range r.o.Rules.Match(r.seen) {
		r.sink.Mark(m)
	}
}

var helpLine = regexp.MustCompile(`^(\S{1,20}) +- `)

func (r *reader) readHelp() error {
	answer, ok, err := r.askFor("help")
	if !ok {
		return err
	}
	r.help = map[string]bool{}
	for line := range lines(answer) {
		if m := helpLine.FindStringSubmatch(line); m != nil && len(r.help) < 1024 {
			r.help[m[1]] = true
		}
	}
	return nil
}

// has reports whether a command may exist. Where help is blocked, each is tried.
func (r *reader) has(command string) bool { return len(r.help) == 0 || r.help[command] }

func (r *reader) readBdinfo() error {
	if !r.has("bdinfo") {
		return nil
	}
	answer, ok, err := r.askFor("bdinfo")
	if !ok {
		return err
	}
	r.reach.staging = stagingWindow(parseBdinfo(answer))
	return nil
}

// board and soc are the variables in which loaders keep names, best first.
var (
	boardVariables = []string{"board_name", "board", "boardname", "hw_board", "board_rev"}
	socVariables   = []string{"soc", "soc_name", "chip", "chipname"}
	modelVariables = []string{"model", "model_name", "devmodel", "product"}
	makerVariables = []string{"manufacturer", "maker"}
	ethVariable    = regexp.MustCompile(`^(?:eth\d{0,2}addr|ethaddr\d?|wlanaddr|wifiaddr|mac(?:addr)?)$`)
)

func (r *reader) readEnv() error {
	if !r.has("printenv") {
		return nil
	}
	answer, ok, err := r.askFor("printenv")
	if !ok {
		return err
	}
	all, err := parsePrintenv(answer)
	if err != nil {
		r.problem(fmt.Errorf("%w: %w", devices.ErrMalformed, err), "printenv")
	}
	r.env = map[string]string{}
	for _, v := range all {
		r.env[v.name] = v.value
	}
	for _, v := range all {
		switch {
		case v.name == "serial#" || v.name == "serialno":
			r.claim(attest.SubjectUnit, attest.NameSerial, v.value, "printenv "+v.name)
			r.observe("serial", v.value, "printenv "+v.name)
		case ethVariable.MatchString(v.name):
			if mac, err := net.ParseMAC(v.value); err == nil {
				r.claim(attest.SubjectUnit, attest.NameMAC, strings.ToUpper(mac.String()), "printenv "+v.name)
			}
		case v.name == "mtdparts", v.name == "bootargs", v.name == "bootcmd", v.name == "vendor", v.name == "bootdelay", v.name == "cpu":
			r.claim(attest.SubjectBootLoader, "env."+v.name, line.WithoutSecrets(v.value), "printenv "+v.name)
		}
	}
	for _, v := range []string{r.env["mtdparts"], mtdpartsOf(r.env["bootargs"])} {
		if len(r.parts) == 0 {
			r.parts = parseMtdparts(v)
		}
	}
	for _, v := range boardVariables {
		r.name(attest.SubjectBoard, "env."+v, r.env[v], "printenv "+v)
	}
	for _, v := range socVariables {
		r.name(attest.SubjectSoC, "env."+v, r.env[v], "printenv "+v)
	}
	for name, variables := range map[string][]string{attest.NameModel: modelVariables, attest.NameMaker: makerVariables} {
		if i := slices.IndexFunc(variables, func(v string) bool { return strings.TrimSpace(r.env[v]) != "" }); i >= 0 {
			r.claim(attest.SubjectUnit, name, r.env[variables[i]], "printenv "+variables[i])
		}
	}
	return nil
}

// mtdpartsOf finds the definition of partitions in a kernel's command line.
func mtdpartsOf(bootargs string) string {
	for word := range strings.FieldsSeq(bootargs) {
		if strings.HasPrefix(word, "mtdparts=") {
			return word
		}
	}
	return ""
}

// readMtd claims the partitions as the loader sees them.
func (r *reader) readMtd() error {
	for _, command := range []string{"mtd list", "mtdparts"} {
		if !r.has(strings.Fields(command)[0]) {
			continue
		}
		answer, ok, err := r.askFor(command)
		if err != nil {
			return err
		}
		var found []partition
		if command == "mtd list" {
			found = parseMtdList(answer)
		} else {
			found = parseMtdpartsAnswer(answer)
		}
		if !ok || len(found) == 0 {
			continue
		}
		var words []string
		for _, p := range found {
			words = append(words, fmt.Sprintf("%s %#x-%#x", p.Name, p.Offset, p.Offset+p.Size))
		}
		r.claim(attest.SubjectFlash, "partitions", strings.Join(words, ", "), command)
		if len(r.parts) == 0 {
			r.parts = found
		}
	}
	return nil
}

// readFdt reads the device tree that the loader itself runs with: the name of
// the board and, where signed boot is built in, the keys that it trusts.
func (r *reader) readFdt() error {
	if !r.has("fdt") || (r.env != nil && r.env["fdtcontroladdr"] == "") {
		return nil
	}
	answer, ok, err := r.askFor("fdt addr ${fdtcontroladdr}")
	if !ok || strings.Contains(answer, "invalid") || strings.Contains(answer, "Usage") {
		return err
	}
	for _, q := range []struct{ command, name string }{{"fdt print / model", "model"}, {"fdt print / compatible", "compatible"}} {
		answer, ok, err := r.askFor(q.command)
		if err != nil {
			return err
		}
		for _, p := range parseFdt(answer) {
			if ok && p.name == q.name {
				r.name(attest.SubjectBoard, "fdt."+q.name, strings.Join(fdtStrings(p.value), " "), q.command)
			}
		}
	}
	answer, ok, err = r.askFor("fdt print /signature")
	if !ok {
		return err
	}
	r.fromSignature(parseFdt(answer))
	return nil
}

// fromSignature claims each key of /signature (U-Boot
// doc/uImage.FIT/signature.txt): a key that is "required" must have signed what
// boots. That the loader obeys its own tree is not checked.
func (r *reader) fromSignature(all []property) {
	byNode := map[string]map[string]string{}
	var order []string
	for _, p := range all {
		if byNode[p.node] == nil {
			byNode[p.node] = map[string]string{}
			order = append(order, p.node)
		}
		byNode[p.node][p.name] = strings.Join(fdtStrings(p.value), " ")
	}
	for _, node := range order {
		key := byNode[node]
		if key["algo"] == "" {
			continue
		}
		required := key["required"]
		if required == "" {
			required = "no"
		}
		r.claim(attest.SubjectBootLoader, attest.NameSignedBoot, fmt.Sprintf("key %s (%s), required: %s", firstNonEmpty(key["key-name-hint"], node), key["algo"], required), "fdt print /signature "+node)
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
