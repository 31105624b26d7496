package inventory

import "regexp"

// classifier recognises one piece of software by a string that its build puts
// into it.
type classifier struct {
	name    string
	literal string
	match   *regexp.Regexp // anchored at the literal; the first group is the version
	confirm string         // must stand in the same file or region as well
	file    *regexp.Regexp // must match the file's base name
}

// classifiers and where their strings come from: busybox libbb/messages.c; Linux
// init/version-timestamp.c; U-Boot cmd/version.c; OpenSSL crypto/cversion.c
// (OPENSSLDIR is what only the library has: programs that use it carry the
// version text of its headers); dropbear src/sysoptions.h; lighttpd
// src/server.c; boa src/defines.h; dnsmasq src/option.c; hostap
// wpa_supplicant/main.c and hostapd/main.c.
var classifiers = []classifier{
	{name: "BusyBox", literal: "BusyBox v", match: regexp.MustCompile(`^BusyBox v(\d+\.\d+(?:\.\d+)?[\w.+-]*) \([^)\x00]{1,80}\)`)},
	{name: "Linux", literal: "Linux version ", match: regexp.MustCompile(`^Linux version (\d+\.\d+[\w.+~-]*) \([^)\n\x00]*\)[^\n\x00]*#\d+[^\n\x00]*`)},
	{name: "U-Boot", literal: "U-Boot ", match: regexp.MustCompile(`^U-Boot (?:SPL |TPL )?((?:20\d\d|1)\.\d[\w.+~-]*) \([A-Z][a-z]{2} [ \d]\d \d{4} - \d\d:\d\d:\d\d[^)\x00]{0,10}\)[ -~]{0,100}`)},
	{name: "OpenSSL", literal: "OpenSSL ", confirm: `OPENSSLDIR: "`, match: regexp.MustCompile(`^OpenSSL (\d+\.\d+\.\d+[a-z]{0,2}(?:-[\w.+]+)?) +\d{1,2} [A-Z][a-z]{2} \d{4}`)},
	{name: "dropbear", literal: "SSH-2.0-dropbear_", match: regexp.MustCompile(`^SSH-2\.0-dropbear_(\d+\.\d+[\w.]*)`)},
	{name: "lighttpd", literal: "lighttpd/", file: regexp.MustCompile(`^lighttpd`), match: regexp.MustCompile(`^lighttpd/(\d+\.\d+\.\d+)`)},
	{name: "boa", literal: "Boa/", match: regexp.MustCompile(`^Boa/(0\.\d+\.\d+[\w.]*)`)},
	{name: "dnsmasq", literal: "dnsmasq-", file: regexp.MustCompile(`^dnsmasq`), match: regexp.MustCompile(`^dnsmasq-(\d+\.\d+[\w.]*)`)},
	{name: "wpa_supplicant", literal: "wpa_supplicant v", match: regexp.MustCompile(`^wpa_supplicant v(\d+\.\d+[\w.-]*)`)},
	{name: "hostapd", literal: "hostapd v", match: regexp.MustCompile(`^hostapd v(\d+\.\d+[\w.-]*)`)},
}
