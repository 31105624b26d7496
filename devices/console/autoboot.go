package console

import (
	"regexp"
	"strings"

	"assay/devices/console/autoboot"
)

// bootText starts with a boot loader's first words: from here on keys may be sent.
var bootText = regexp.MustCompile(`(?m)U-Boot(?: SPL)?[ -]?\d|^DRAM: |[Hh]it .{1,30} to (?:stop|abort)|(?i:autoboot)|DH-Boot`)

// freshBoot matches what is printed once after power-on, before any countdown.
var freshBoot = regexp.MustCompile(`(?m)U-Boot(?: SPL)?[ -]?\d|^DRAM: |DH-Boot`)

// asksForPassword matches a loader that compares a string with its SHA-256:
// every key counts as part of that string, so a flood of keys locks it until
// the next power-on (U-Boot common/autoboot.c, passwd_abort_sha256).
var asksForPassword = regexp.MustCompile(`(?im)^[^\n=]*(?:autoboot|boot)[^\n=]*(?:password|passphrase|stop ?string|magic string)[^\n=]*$|^[^\n=]*(?:password|passphrase|stop ?string)[^\n=]*(?:autoboot|boot)[^\n=]*$|^[^\n=]{0,40}pass(?:word|wd|phrase)[^\n=]{0,20}: ?$`)

// lock is a loader's request for a password, in its own words.
type lock struct {
	words  string
	hashes bool // it counts every byte that it receives as part of the password
}

// locked looks for a request for a password in what was printed since power-on.
// family is the one that was recognised so far.
func locked(text []byte, family autoboot.Stop) (l lock, ok bool) {
	switch s := family; {
	case len(s.Keys) == 0 && s.Password != autoboot.NoPassword && s.Banner != nil && s.Banner.Match(text):
		l = lock{string(s.Banner.Find(text)), s.Password == autoboot.Instead}
	case asksForPassword.Match(text):
		l.words = string(asksForPassword.Find(text))
		l.hashes = !strings.HasSuffix(strings.TrimSpace(l.words), ":")
	default:
		return lock{}, false
	}
	l.words = clip(strings.TrimSpace(l.words))
	return l, true
}

// pastLoader matches the moment at which a boot loader has handed over.
var pastLoader = regexp.MustCompile(`(?m)^(?:Starting kernel|Uncompressing Linux|.{0,40}Linux version \d|## Booting kernel|Starting application)`)

var (
	loginPrompt = regexp.MustCompile(`(?m)^[^\n]{0,60}\blogin: ?`)
	// askFirst is BusyBox init's offer of a console (init/init.c, askfirst).
	askFirst = regexp.MustCompile(`(?i)press Enter to activate this console`)
)

// promptLine matches a line that could be a prompt: "=> ", "hisilicon # ",
// "NA51023>", "isvp_t31# ".
var promptLine = regexp.MustCompile(`^[\x20-\x7e]{0,40}[#>$%] ?$`)

// isPrompt reports whether a line could be a prompt: by its shape, or because a
// family is known to have it ("nvt@na51055: ").
func isPrompt(line string) bool {
	_, known := autoboot.Prompt(line)
	return known || promptLine.MatchString(line)
}
