package bootlog

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"assay/attest"
	"assay/devices/console/autoboot"
)

// parser goes through a log line by line.
type parser struct {
	text  []byte
	rules *ruleSet
	boots []*boot
	*boot // the current one

	session  session
	device   string // that the partition table is of
	anyTable bool   // some power-on printed one
}

// session is what was typed at a prompt, whose answer is not a boot.
type session struct {
	shell   bool
	command string
	paths   []string // files whose lines are still to come
}

var hexDump = regexp.MustCompile(`^[0-9a-f]{8,16}: (?:[0-9a-f]{2,16} ){4}`)

// isHexDump reports a line of a memory dump.
func isHexDump(s string) bool {
	return len(s) > 16 && (s[8] == ':' || s[16] == ':') && hexDump.MatchString(s)
}

// line takes one line. It reports false when the log is not to be read further.
func (p *parser) line(l logLine) bool {
	if p.boot == nil {
		p.newBoot()
	}
	if l.kernel {
		p.stage = max(p.stage, Kernel)
	}
	if isHexDump(l.text) {
		return true // of memory: what it holds is not said by who prints it
	}
	if p.prompt(l) {
		return true
	}
	if p.answer(l) || p.partition(l) {
		return true
	}
	for i := range p.rules.rules {
		r := &p.rules.rules[i]
		text := l.text
		if r.id == "autoboot" && l.before != "" {
			text = l.before // the countdown rubs itself out
		}
		groups := r.match(text, p.stage)
		if groups == nil {
			continue
		}
		if r.starts != Unknown && !p.start(r.starts) {
			return false
		}
		p.apply(r, groups, l)
	}
	return true
}

func (p *parser) newBoot() {
	p.boot = &boot{set: p.rules, number: len(p.boots) + 1}
	p.boots = append(p.boots, p.boot)
	p.session, p.device = session{}, ""
}

// start goes to a stage. A stage before the current one is another power-on,
// unless the line is an answer to what was typed. It reports false when there
// were more power-ons than a log is read for.
func (p *parser) start(s Stage) bool {
	typed := shows.MatchString(p.session.command)
	again := s < p.stage || s == p.stage && s == Loader && p.hasBanner()
	if !again || typed {
		p.stage = max(p.stage, s)
		return true
	}
	if s == Userland || s == Kernel {
		return true // "login:" and "Starting kernel" repeat
	}
	if len(p.boots) >= maxBoots {
		return false
	}
	p.endBoot()
	p.newBoot()
	p.stage = s
	return true
}

// shows matches commands whose answer holds lines of a boot that was.
var shows = regexp.MustCompile(`^(?:busybox )?(?:version|dmesg|logread|cat|more|less|head|tail|strings|grep|zcat|printenv|env|md|help)\b`)

// hasBanner reports whether this boot's loader has named itself. Its countdown
// comes after that.
func (b *boot) hasBanner() bool {
	for _, f := range b.found {
		if f.Subject == attest.SubjectBootLoader && (f.Name == "autoboot") {
			return true
		}
	}
	return false
}

// shellPrompt is that of a Linux shell with what was typed behind it.
var shellPrompt = regexp.MustCompile(`^(?:\[?[\w.-]{1,40}@[\w.()-]{1,40}[: ][\w./~-]{0,60}\]?[#$]|[~/][\w./~-]{0,60} ?#|#) (\S.*)?$`)

func shellMatch(s string) []string {
	if c := s[0]; c != '#' && c != '~' && c != '/' && c != '[' && !strings.Contains(s, "@") {
		return nil
	}
	return shellPrompt.FindStringSubmatch(s + " ")
}

// prompt notices a prompt and what was typed at it.
func (p *parser) prompt(l logLine) bool {
	// A bare "# " starts lines of many kinds before a shell can be there.
	if !strings.ContainsAny(l.text, "#$>:") {
		return false
	}
	if m := shellMatch(l.text); m != nil && (p.stage == Userland || !strings.HasPrefix(l.text, "#")) {
		p.stage = Userland
		p.session = session{shell: true, command: strings.TrimSpace(m[1])}
		for _, f := range deviceTree.FindAllStringSubmatch(m[1], 8) {
			p.session.paths = append(p.session.paths, f[1])
		}
		if strings.Contains(m[1], "spi-nor/") {
			p.session.paths = []string{"jedec_id", "manufacturer", "partname"}
		}
		return true
	}
	if p.stage >= Kernel && !p.session.loader() {
		return false
	}
	prompt, command, ok := loaderPrompt(l.text)
	if !ok {
		return false
	}
	p.stage = max(p.stage, Loader)
	p.session = session{command: command}
	p.add(attest.SubjectBootLoader, "prompt", prompt, "prompt", p.stage, l)
	p.chips(prompt, func(s attest.Subject, name, value string) { p.add(s, name, value, "prompt", p.stage, l) })
	return true
}

func (s session) loader() bool { return !s.shell && s.command != "" }

// loaderPrompt parts a boot loader's prompt from what was typed behind it. The
// two-character "> " is too common for a log.
func loaderPrompt(text string) (prompt, command string, ok bool) {
	for i := 0; i < len(text) && i < 40; i++ {
		if !strings.ContainsRune("#>$:", rune(text[i])) {
			continue
		}
		prompt = text[:i+1]
		rest := text[i+1:]
		if rest != "" && rest[0] != ' ' || len(strings.TrimSpace(prompt)) < 2 {
			continue
		}
		if _, ok := autoboot.Prompt(prompt); ok {
			return prompt, strings.TrimSpace(strings.ReplaceAll(rest, "<INTERRUPT>", "")), true
		}
	}
	return "", "", false
}

var deviceTree = regexp.MustCompile(`/proc/device-tree/(model|serial-number)\b`)

// answer reads what only makes sense as the answer to a command.
func (p *parser) answer(l logLine) bool {
	s := &p.session
	say := func(subject attest.Subject, name, value, how string) { p.add(subject, name, value, how, p.stage, l) }
	switch {
	case s.shell && len(s.paths) > 0:
		if strings.HasPrefix(l.text, "cat:") || strings.Contains(l.text, "$(") {
			return false
		}
		what := s.paths[0]
		s.paths = s.paths[1:]
		value := strings.Trim(l.text, "\x00 ")
		switch what {
		case "model":
			p.applyAs(attest.SubjectBoard, "device-tree.model", value, "board", "device-tree model", l)
		case "serial-number":
			p.applyAs(attest.SubjectUnit, attest.NameSerial, value, "serial", "device-tree serial-number", l)
		case "jedec_id":
			p.applyAs(attest.SubjectFlash, "jedec-id", value, "jedec", "spi-nor jedec_id", l)
		case "manufacturer":
			say(attest.SubjectFlash, "driver-manufacturer", value, "spi-nor manufacturer")
		case "partname":
			p.applyAs(attest.SubjectFlash, "part", value, "part", "spi-nor partname", l)
		}
		return true
	case s.loader() && (s.command == "printenv" || s.command == "env print"):
		return p.variable(l)
	case s.loader() && s.command == "mtdparts":
		if m := mtdpartsLine.FindStringSubmatch(l.text); m != nil {
			p.anyTable = true
			p.sayPartition(m[1], m[3], m[2], true, "mtdparts", l)
			return true
		}
	}
	return false
}

func (p *parser) applyAs(subject attest.Subject, name, value, as, how string, l logLine) {
	p.apply(&rule{id: how, stage: p.stage, facts: []template{{subject, name, "$0", as}}}, []string{value}, l)
}

var environment = regexp.MustCompile(`^([A-Za-z][\w.#-]{0,40})=(.*)$`)

// variables are the ones of a boot loader's environment that say something.
var variables = map[string]template{
	"bootargs": {attest.SubjectBootLoader, "env.bootargs", "", ""}, "bootcmd": {attest.SubjectBootLoader, "env.bootcmd", "", ""},
	"bootdelay": {attest.SubjectBootLoader, "env.bootdelay", "", ""}, "mtdparts": {attest.SubjectBootLoader, "env.mtdparts", "", ""},
	"vendor": {attest.SubjectBootLoader, "env.vendor", "", "soc"}, "cpu": {attest.SubjectBootLoader, "env.cpu", "", ""}, "ver": {attest.SubjectBootLoader, "env.ver", "", ""},
	"board": {attest.SubjectBoard, "env.board", "", "board"}, "board_name": {attest.SubjectBoard, "env.board_name", "", "board"},
	"soc": {attest.SubjectSoC, "env.soc", "", "soc"}, "soc_name": {attest.SubjectSoC, "env.soc_name", "", "soc"}, "chip": {attest.SubjectSoC, "env.chip", "", "soc"},
	"sensor": {attest.SubjectModule, "sensor", "", "sensor"}, "model": {attest.SubjectUnit, attest.NameModel, "", ""}, "product": {attest.SubjectUnit, attest.NameModel, "", ""},
	"manufacturer": {attest.SubjectUnit, attest.NameMaker, "", ""}, "serial#": {attest.SubjectUnit, attest.NameSerial, "", "serial"}, "serialno": {attest.SubjectUnit, attest.NameSerial, "", "serial"},
	"ethaddr": {attest.SubjectUnit, attest.NameMAC, "", "mac"}, "eth1addr": {attest.SubjectUnit, attest.NameMAC, "", "mac"}, "wlanaddr": {attest.SubjectUnit, attest.NameMAC, "", "mac"},
}

// variable reads a line of an environment. Its other variables are not looked
// at: some hold passwords.
func (p *parser) variable(l logLine) bool {
	m := environment.FindStringSubmatch(l.text)
	if m == nil {
		return false
	}
	if t, ok := variables[m[1]]; ok {
		p.applyAs(t.subject, t.name, m[2], t.as, "printenv "+m[1], l)
		if strings.Contains(m[2], "mtdparts=") || m[1] == "mtdparts" {
			p.keepMtdparts(m[2], "printenv "+m[1], l)
		}
	}
	return true
}

var (
	tableStart   = regexp.MustCompile(`^Creating (\d{1,3}) MTD partitions on "([^"]{1,40})"`)
	tableLine    = regexp.MustCompile(`\b0x([0-9a-f]{8,16})-0x([0-9a-f]{8,16}) : "([^"]{1,60})"`)
	falLine      = regexp.MustCompile(`\| (\w{1,24}) +\| (\w{1,24}) +\| 0x([0-9a-f]{8}) \| 0x([0-9a-f]{8}) \|$`)
	redbootLine  = regexp.MustCompile(`^partitions\[\d{1,3}\] = \{\.name = ([\w.-]{1,40}), \.offset = 0x([0-9a-f]{8}), \.size = 0x([0-9a-f]{8})\b`)
	mtdpartsLine = regexp.MustCompile(`^ *\d{1,3}: (\S{1,40}) +0x([0-9a-f]{8,16})\s+0x([0-9a-f]{8,16})\s+\d`)
)

var partitionWords = []string{`"`, "mtdparts=", "| 0x", ".offset = "}

// partition reads the kernel's table of partitions, and those of a command line.
func (p *parser) partition(l logLine) bool {
	if !containsAny(l.text, partitionWords) {
		return false
	}
	if m := falLine.FindStringSubmatch(l.text); m != nil {
		p.anyTable, p.device = true, m[2]
		p.sayPartition(m[1], m[3], m[4], true, "RT-Thread's partition table", l)
		return true
	}
	if m := redbootLine.FindStringSubmatch(l.text); m != nil {
		p.anyTable = true
		p.sayPartition(m[1], m[2], m[3], true, "RedBoot's partition table", l)
		return true
	}
	if m := tableStart.FindStringSubmatch(l.text); m != nil {
		p.device = m[2]
		return true
	}
	if m := tableLine.FindStringSubmatch(l.text); m != nil {
		p.anyTable = true
		p.sayPartition(m[3], m[1], m[2], false, "kernel partition table", l)
		return true
	}
	if i := strings.Index(l.text, "mtdparts="); i >= 0 && strings.HasPrefix(l.text, "Kernel command line: ") {
		p.keepMtdparts(l.text[i:], "kernel command line", l)
	}
	return false
}

// sayPartition writes a partition as its place in its flash.
func (p *parser) sayPartition(name, from, to string, size bool, how string, l logLine) {
	a, err1 := strconv.ParseUint(from, 16, 64)
	b, err2 := strconv.ParseUint(to, 16, 64)
	if size {
		b += a
	}
	if err1 != nil || err2 != nil || b <= a {
		return
	}
	value := fmt.Sprintf("%s 0x%x-0x%x", name, a, b)
	if p.device != "" {
		value = p.device + ": " + value
	}
	p.add(attest.SubjectFlash, "partition", value, how, p.stage, l)
}

var mtdpart = regexp.MustCompile(`^(?:(-)|(0x[0-9a-fA-F]{1,10}|\d{1,10})([kKmMgG]?))(?:@(0x[0-9a-fA-F]{1,10}|\d{1,10})([kKmMgG]?))?\(([^()]{1,40})\)(?:ro)?$`)

// keepMtdparts reads "mtdparts=jz_sfc:256k(boot),-(rest)" (Linux
// drivers/mtd/parsers/cmdlinepart.c). Where the kernel prints its table as well,
// that is told instead.
func (p *parser) keepMtdparts(s, how string, l logLine) {
	s = strings.TrimPrefix(strings.TrimPrefix(s[max(0, strings.Index(s, "mtdparts=")):], "mtdparts="), "mtdparts=")
	s, _, _ = strings.Cut(s, " ")
	for one := range strings.SplitSeq(s, ";") {
		device, list, ok := strings.Cut(one, ":")
		if !ok || len(device) > 40 {
			continue
		}
		at := uint64(0)
		for part := range strings.SplitSeq(list, ",") {
			m := mtdpart.FindStringSubmatch(part)
			if m == nil || len(p.mtdparts) >= 64 {
				break
			}
			if m[4] != "" {
				at = memparse(m[4], m[5])
			}
			end := "end"
			size := memparse(m[2], m[3])
			if m[1] == "" {
				end = fmt.Sprintf("0x%x", at+size)
			}
			p.mtdparts = append(p.mtdparts, Fact{Subject: attest.SubjectFlash, Name: "partition", Value: fmt.Sprintf("%s: %s 0x%x-%s", device, m[6], at, end), Stage: p.stage, Line: quote(l.text), Offset: l.offset, How: "mtdparts of " + how})
			at += size
		}
	}
}

// memparse reads a number as Linux's memparse does. One that is no size of a
// flash, 16 TiB and more, is 0.
func memparse(number, unit string) uint64 {
	n, err := strconv.ParseUint(number, 0, 34)
	if err != nil {
		return 0
	}
	switch strings.ToLower(unit) {
	case "k":
		n <<= 10
	case "m":
		n <<= 20
	case "g":
		n <<= 30
	}
	if n >= 1<<44 {
		return 0
	}
	return n
}
