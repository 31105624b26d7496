package inventory

import (
	"path"
	"regexp"
	"strings"

	"assay/firmware"
)

// classifier recognises one piece of software by a string that its build puts
// into it.
type classifier struct {
	name     string
	evidence Evidence
	literal  string
	match    *regexp.Regexp // anchored at the literal; the first group is the version
	confirm  string         // must stand in the same file or region as well
	file     *regexp.Regexp // must match the file's base name
	code     bool           // the string of a program, behind whose newline it ends: logs and manuals quote it
}

// classifiers and where their strings come from: busybox libbb/messages.c; Linux
// init/version-timestamp.c; U-Boot cmd/version.c; OpenSSL crypto/cversion.c
// (OPENSSLDIR is what only the library has: programs that use it carry the
// version text of its headers); dropbear src/sysoptions.h; lighttpd
// src/server.c; boa src/defines.h; dnsmasq src/option.c; hostap
// wpa_supplicant/main.c and hostapd/main.c; curl lib/version.c; Mbed TLS
// library/version.c; FFmpeg libavutil/utils.c and libavcodec/utils.c
// (av_*_ffversion); gSOAP stdsoap2.h (its SOAP stack names itself in HTTP
// headers); live555 liveMedia/RTSPClient.cpp and ServerMediaSession.cpp; musl
// ldso/dynlink.c; vsftpd banner.c; glibc csu/version.c; zlib deflate.c and inftrees.c; OpenSSH
// version.h; mini_httpd version.h; nginx src/core/nginx.h; thttpd version.h; the
// version line of HiSilicon's media platform from OpenIPC/ipctool README.md.
var classifiers = []classifier{
	{name: "BusyBox", evidence: ByBanner, literal: "BusyBox v", match: regexp.MustCompile(`^BusyBox v(\d+\.\d+(?:\.\d+)?[\w.+-]*) \([^)\x00]{1,80}\)`)},
	{name: "Linux", evidence: ByBanner, code: true, literal: "Linux version ", match: regexp.MustCompile(`^Linux version (\d+\.\d+[\w.+~-]*) \([^)\n\x00]*\)[^\n\x00]*#\d+[^\n\x00]*`)},
	{name: "U-Boot", evidence: ByBanner, literal: "U-Boot ", match: regexp.MustCompile(`^U-Boot (?:SPL |TPL )?((?:20\d\d|1)\.\d[\w.+~-]*) \([A-Z][a-z]{2} [ \d]\d \d{4} - \d\d:\d\d:\d\d[^)\x00]{0,10}\)[ -~]{0,100}`)},
	{name: "OpenSSL", evidence: ByText, literal: "OpenSSL ", confirm: `OPENSSLDIR: "`, match: regexp.MustCompile(`^OpenSSL (\d+\.\d+\.\d+[a-z]{0,2}(?:-[\w.+]+)?) +\d{1,2} [A-Z][a-z]{2} \d{4}`)},
	{name: "dropbear", evidence: ByBanner, literal: "SSH-2.0-dropbear_", match: regexp.MustCompile(`^SSH-2\.0-dropbear_(\d+\.\d+[\w.]*)`)},
	{name: "lighttpd", evidence: ByBanner, literal: "lighttpd/", file: regexp.MustCompile(`^lighttpd`), match: regexp.MustCompile(`^lighttpd/(\d+\.\d+\.\d+)`)},
	{name: "boa", evidence: ByBanner, literal: "Boa/0.", match: regexp.MustCompile(`^Boa/(0\.\d+\.\d+[\w.]*)`)},
	{name: "dnsmasq", evidence: ByText, literal: "dnsmasq-", file: regexp.MustCompile(`^dnsmasq`), match: regexp.MustCompile(`^dnsmasq-(\d+\.\d+[\w.]*)`)},
	{name: "wpa_supplicant", evidence: ByText, literal: "wpa_supplicant v", match: regexp.MustCompile(`^wpa_supplicant v(\d+\.\d+[\w.-]*)`)},
	{name: "hostapd", evidence: ByText, literal: "hostapd v", match: regexp.MustCompile(`^hostapd v(%s|\d+\.\d+[\w.-]*)`)},
	{name: "curl", evidence: ByText, literal: "libcurl/", file: regexp.MustCompile(`^(libcurl.*\.so|curl)`), match: regexp.MustCompile(`^libcurl/(\d+\.\d+\.\d+[\w-]*)`)},
	{name: "Mbed TLS", evidence: ByText, literal: "mbed TLS ", match: regexp.MustCompile(`^mbed TLS (\d+\.\d+\.\d+)\x00`)},
	{name: "Mbed TLS", evidence: ByText, literal: "Mbed TLS ", match: regexp.MustCompile(`^Mbed TLS (\d+\.\d+\.\d+)\x00`)},
	{name: "FFmpeg", evidence: ByText, literal: "FFmpeg version ", match: regexp.MustCompile(`^FFmpeg version ([\w.+~:-]{1,64})\x00`)},
	{name: "live555", evidence: ByBanner, literal: "LIVE555 Streaming Media v", match: regexp.MustCompile(`^LIVE555 Streaming Media v\x00*(20\d\d\.\d\d\.\d\d[a-z]?)?`)},
	{name: "gSOAP", evidence: ByBanner, literal: "gSOAP/", match: regexp.MustCompile(`^gSOAP/(\d+\.\d+)`)},
	{name: "musl", evidence: ByBanner, literal: "musl libc (", file: regexp.MustCompile(`^(ld-musl-|libc\.so|libc\.musl-)`), match: regexp.MustCompile(`^musl libc \([\w.-]+\)\nVersion (%s|\d+\.\d+\.\d+)`)},
	{name: "glibc", evidence: ByBanner, literal: "GNU C Library ", match: regexp.MustCompile(`^GNU C Library \([^)\x00]{1,80}\) (?:stable|development) release version (\d+\.\d+(?:\.\d+)?)`)},
	{name: "zlib", evidence: ByText, literal: " deflate 1.", file: regexp.MustCompile(`^libz\.so`), match: regexp.MustCompile(`^ deflate (1\.\d+\.\d+[\w.]*) Copyright 1995-`)},
	{name: "OpenSSH", evidence: ByBanner, literal: "OpenSSH_", file: regexp.MustCompile(`^sshd?$`), match: regexp.MustCompile(`^OpenSSH_(\d+\.\d+p\d+)`)},
	{name: "vsftpd", evidence: ByBanner, literal: "(vsFTPd ", match: regexp.MustCompile(`^\(vsFTPd (\d+\.\d+\.\d+)\)`)},
	{name: "wolfSSL", evidence: ByText, literal: "wolfSSL ", file: regexp.MustCompile(`^libwolfssl`), match: regexp.MustCompile(`^wolfSSL (\d+\.\d+\.\d+)`)},
	{name: "mini_httpd", evidence: ByBanner, literal: "mini_httpd/", file: regexp.MustCompile(`^mini_httpd`), match: regexp.MustCompile(`^mini_httpd/(\d+\.\d+\w*)`)},
	{name: "thttpd", evidence: ByBanner, literal: "thttpd/", file: regexp.MustCompile(`^thttpd`), match: regexp.MustCompile(`^thttpd/(\d+\.\d+\w*)`)},
	{name: "nginx", evidence: ByBanner, literal: "nginx/", file: regexp.MustCompile(`^nginx`), match: regexp.MustCompile(`^nginx/(1\.\d+\.\d+)`)},
	{name: "HiSilicon MPP", evidence: ByText, literal: "_MPP_V", match: regexp.MustCompile(`^_MPP_V(\d+\.\d+\.\d+\.\d+(?: B\d{3})?)`)},
}

// kit is a maker's development kit for its chips, known by a library that exports
// its interface. What marks that makes is for marks.yaml to say.
type kit struct {
	name, symbol string
	file         *regexp.Regexp
}

// kits, by the exported function that starts each and the library it is in: Goke
// ships a copy of HiSilicon's interface as libhi_mpi.so. Sources: OpenIPC/divinus
// src/hal (HiSilicon, Goke), aaron201912/SSD222_Demo sstar_dynamic_load.h
// (SigmaStar), gtxaspec/prudynt-t include/T23/imp/imp_system.h (Ingenic),
// rockchip-linux/mpp inc/rk_mpi.h and rk_mpi_sys.h (Rockchip), OpenIPC
// novatek-osdrv-nt9856x (Novatek).
var kits = []kit{
	{"HiSilicon MPP", "HI_MPI_SYS_Init", regexp.MustCompile(`^libmpi\.so`)},
	{"Goke MPP", "GK_MPI_SYS_Init", regexp.MustCompile(`^libgk_`)},
	{"Goke MPP", "HI_MPI_SYS_Init", regexp.MustCompile(`^libhi_mpi\.so`)},
	{"SigmaStar MI", "MI_SYS_Init", regexp.MustCompile(`^libmi_sys\.so`)},
	{"Ingenic IMP", "IMP_System_Init", regexp.MustCompile(`^libimp\.so`)},
	{"Rockchip MPP", "mpp_create", regexp.MustCompile(`^librockchip_mpp\.so`)},
	{"Rockchip RockIt", "RK_MPI_SYS_Init", regexp.MustCompile(`^librockit`)},
	{"Novatek HDAL", "hd_common_init", regexp.MustCompile(`^libhdal\.so`)},
}

// applets adds to a BusyBox the links that lead to it: those are no software of
// their own.
func (m *merge) applets(components []Component, r *firmware.Region, f *firmware.File) {
	for i := range components {
		if c := &components[i]; c.Name == "BusyBox" {
			c.Applets = linksTo(r.Files, f.Path)
		}
	}
}

// linksTo lists the hard and symbolic links in a file system that lead to a file.
func linksTo(files []*firmware.File, target string) []string {
	links := make(map[string]string)
	for _, f := range files {
		if f.Target != "" {
			links[f.Path] = f.Target
		}
	}
	var found []string
	for _, f := range files {
		if len(found) == maxApplets {
			break
		}
		if f.Link == target || f.Target != "" && resolve(links, f.Path) == target {
			found = append(found, word(f.Path))
		}
	}
	return found
}

// resolve follows a path through symbolic links, as far as 16 of them and 64
// parts: longer ones lead nowhere.
func resolve(links map[string]string, name string) string {
	rest := strings.Split(name, "/")
	at := ""
	for steps, followed := 0, 0; len(rest) > 0; steps++ {
		if steps == 64 || len(rest) > 64 {
			return ""
		}
		switch part := rest[0]; part {
		case "", ".":
			rest = rest[1:]
			continue
		case "..":
			at, rest = strings.TrimSuffix(path.Dir("/" + at)[1:], "/"), rest[1:]
			continue
		default:
			at, rest = path.Join(at, part), rest[1:]
		}
		target, ok := links[at]
		if !ok {
			continue
		}
		if followed++; followed > 16 {
			return ""
		}
		if strings.HasPrefix(target, "/") {
			at = ""
		} else {
			at = strings.TrimPrefix(path.Dir("/"+at), "/")
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at
}
