package shell

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// What this package may ever type at a shell. A whole command is taken apart
// into simple commands, and each must be one that only reads: none changes a
// file, a setting, a process or what runs next. A redirection is allowed to
// /dev/null and, for a TPM's command, to its device.

// simple are the simple commands, words joined by one space. Their arguments
// can name only what paths and devices allow.
var simple = regexp.MustCompile(`^(?:` + strings.Join([]string{
	`\[ -[refc] (?:PATH|DEVICE|\$f) \]`,
	`cat (?:PATH|\$f)`,
	`dmesg`, `lsmod`, `uname -a`,
	`dd if=(?:DEVICE|PATH) bs=\d{1,6} skip=(?:\d{1,9}|\$i) count=\d{1,9}`,
	`dd bs=\d{1,6} count=\d{1,6}`,
	`dd obs=4096 >&9`, `dd bs=4096 count=1 <&9`,
	`sed -n '\d{1,6},\d{1,6}p'`,
	`gzip -cf`, `tail -c 8`, `md5sum`, `sha256sum`,
	`base64`, `uuencode -m x`, `xxd -p`, `hexdump -v -e '1/1 "%02x"'`, `od -A n -v -t x1`,
	`exec 9>&-`, `exec 9<>TPM`,
	`do`, `done`,
}, "|") + `)$`)

// said matches what only prints: echo and printf put into text what they are given.
var said = regexp.MustCompile(`^(?:echo|printf)(?: |$)`)

// device matches the flash memories, of which dd reads.
var device = regexp.MustCompile(`^/dev/(?:mtd/?\d{1,3}(?:ro)?|mtdblock\d{1,3}|mmcblk\d{1,2}(?:boot\d)?)$`)

// opening matches the only way in which a device is opened for writing.
var opening = regexp.MustCompile(`\[ -c (\S+) \]&&exec 9<>(\S+);`)

// permit refuses a command that is not known to leave the unit as it is.
func (p *Prompt) permit(command string) error {
	for c := range strings.SplitSeq(command, "\n") {
		if len(c) > typedMax {
			return fmt.Errorf("a line of %d characters, the most that is typed is %d: not sent", len(c), typedMax)
		}
	}
	// A path that is not there would be made by opening it for writing.
	rest := command
	for _, m := range opening.FindAllStringSubmatch(command, -1) {
		if m[1] == m[2] {
			rest = strings.Replace(rest, m[0], "", 1)
		}
	}
	if strings.Contains(rest, "<>") {
		return fmt.Errorf("command %q opens what may not be there: not sent", clip(command))
	}
	all, err := takeApart(command)
	if err != nil {
		return fmt.Errorf("command %q: %w: not sent", clip(command), err)
	}
	for _, c := range all {
		if !p.permits(c) {
			return fmt.Errorf("command %q: %q is not one of the reading commands: not sent", clip(command), clip(c))
		}
	}
	return nil
}

func (p *Prompt) permits(c string) bool {
	if p.sends != "" && c == p.sends {
		return true
	}
	words := strings.Split(c, " ")
	if said.MatchString(c) {
		return !slices.Contains(words, ">&9") && !slices.Contains(words, "<&9")
	}
	if words[0] == "for" {
		return p.permitsLoop(words)
	}
	for i, w := range words {
		name, operand := "", w
		for _, prefix := range []string{"if=", "9<>"} {
			if rest, ok := strings.CutPrefix(w, prefix); ok {
				name, operand = prefix, rest
			}
		}
		path, ok := strings.CutPrefix(operand, p.o.Root)
		if !ok || !strings.HasPrefix(path, "/") {
			continue
		}
		switch {
		case path == p.o.TPM && (name == "9<>" || words[0] == "["):
			words[i] = name + map[bool]string{true: "TPM", false: "DEVICE"}[name != ""]
		case name == "9<>":
			return false
		case device.MatchString(path):
			words[i] = name + "DEVICE"
		case readable[path]:
			words[i] = name + "PATH"
		default:
			return false
		}
	}
	return simple.MatchString(strings.Join(words, " "))
}

// permitsLoop looks at what a loop goes over: numbers, or files that may be read.
func (p *Prompt) permitsLoop(words []string) bool {
	if len(words) < 4 || words[2] != "in" {
		return false
	}
	for _, w := range words[3:] {
		path, ok := strings.CutPrefix(w, p.o.Root)
		number := words[1] == "i" && digits.MatchString(w)
		if file := words[1] == "f" && ok && readable[path]; !number && !file {
			return false
		}
	}
	return true
}

var digits = regexp.MustCompile(`^\d{1,9}$`)

// takeApart returns the simple commands of a command. It knows the little of a
// shell's grammar that this package types and refuses all else.
func takeApart(command string) ([]string, error) {
	var all []string
	var words []string
	var word strings.Builder
	inWord := false
	endWord := func() {
		if inWord {
			words = append(words, word.String())
			word.Reset()
			inWord = false
		}
	}
	endCommand := func() {
		endWord()
		if len(words) > 0 && words[0] == "do" { // what follows it is a command of its own
			words = words[1:]
		}
		if len(words) > 0 {
			all = append(all, strings.Join(words, " "))
		}
		words = nil
	}
	for i := 0; i < len(command); {
		rest := command[i:]
		if r := redirection.FindString(rest); r != "" && !inWord {
			if r[0] != '2' {
				words = append(words, r)
			}
			i += len(r)
			continue
		}
		c := rest[0]
		switch {
		case c == '\'':
			end := strings.IndexByte(rest[1:], '\'')
			if end < 0 {
				return nil, fmt.Errorf("an open quote")
			}
			quoted := rest[:end+2]
			if !printableOnly(quoted) {
				return nil, fmt.Errorf("a control character")
			}
			word.WriteString(quoted)
			inWord = true
			i += len(quoted)
			continue
		case c == ' ':
			endWord()
		case c == ';' || c == '\n' || c == '|' || c == ')' || (c == '(' || c == '{' || c == '}') && !inWord:
			if c == '|' && strings.HasPrefix(rest, "||") {
				return nil, fmt.Errorf("||")
			}
			endCommand()
		case strings.HasPrefix(rest, "&&"):
			endCommand()
			i++
		case strings.HasPrefix(rest, "9<>") && len(words) == 1 && words[0] == "exec" && !inWord:
			word.WriteString("9<>")
			inWord = true
			i += 3
			continue
		case strings.HasPrefix(rest, "9>&-") && len(words) == 1 && words[0] == "exec" && !inWord:
			word.WriteString("9>&-")
			inWord = true
			i += 4
			continue
		case c == '$':
			v := variable.FindString(rest)
			if v == "" {
				return nil, fmt.Errorf("an expansion")
			}
			word.WriteString(v)
			inWord = true
			i += len(v)
			continue
		case plainChar(c):
			word.WriteByte(c)
			inWord = true
		default:
			return nil, fmt.Errorf("character %q", c)
		}
		i++
	}
	endCommand()
	return all, nil
}

var (
	redirection = regexp.MustCompile(`^(?:2>/dev/null|2>&1|>&9|<&9)`)
	variable    = regexp.MustCompile(`^\$(?:[if]\b|\?)`)
)

// plainChar reports a character that means itself, or is part of a pattern of
// file names.
func plainChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("/._-=,:*[]%+", c) >= 0
}

func printableOnly(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}
