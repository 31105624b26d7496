package console

import "regexp"

// stopKey is what stops one family's autoboot.
type stopKey struct {
	family string
	banner *regexp.Regexp // in what was printed since power-on
	key    string
}

// stopKeys are in order: the first whose banner matches is sent. Enter is sent
// only to the family that takes nothing else, because at a prompt it would
// repeat the last command.
//
// Sources: U-Boot common/autoboot.c (Ctrl-C counts as any key); Hikvision's,
// SigmaStar's (cstrassburg/cmsxj19e-hacks SERIAL_CONSOLE.md), Dahua's and
// Realtek's (their consoles' printed banners); OpenIPC/wiki en/help-uboot.md.
var stopKeys = []stopKey{
	{"Hikvision", regexp.MustCompile(`(?i)Hit Ctrl ?\+ ?u\b|HKVS`), "\x15"},
	{"Dahua", regexp.MustCompile(`(?i)DH-Boot|DaHua`), "*"},
	{"SigmaStar", regexp.MustCompile(`(?i)SigmaStar|MStar|SSTAR`), "\r"},
	{"space", regexp.MustCompile(`(?i)(?:press|hit) (?:the )?<?space>?`), " "},
	{"escape", regexp.MustCompile(`(?i)(?:press|hit) (?:the )?<?esc(?:ape)?>?\b|RealTek`), "\x1b"},
	{"U-Boot", regexp.MustCompile(``), ctrlC},
}

// bootText starts with a boot loader's first words: from here on keys may be sent.
var bootText = regexp.MustCompile(`(?m)U-Boot(?: SPL)?[ -]?\d|^DRAM: |[Hh]it .{1,30} to (?:stop|abort)|(?i:autoboot)|DH-Boot`)

// asksForPassword matches a loader that compares a string with its SHA-256:
// every key counts as part of that string, so a flood of keys locks it until
// the next power-on (U-Boot common/autoboot.c, passwd_abort_sha256).
var asksForPassword = regexp.MustCompile(`(?im)^[^\n=]*(?:autoboot|boot)[^\n=]*(?:password|passphrase|stop ?string|magic string)[^\n=]*$|^[^\n=]*(?:password|passphrase|stop ?string)[^\n=]*(?:autoboot|boot)[^\n=]*$|^[^\n=]{0,40}pass(?:word|wd|phrase)[^\n=]{0,20}: ?$`)

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
