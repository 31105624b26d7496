package inventory

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// Start scripts and configurations that start programs which listen. Shell is
// read word by word and not run: a variable is followed where the same file sets
// it to one word, a condition is not weighed, and what another program starts is
// not seen.

// daemons are programs that wait for others to connect, and what they offer.
var daemons = map[string]string{
	"telnetd": "telnet", "utelnetd": "telnet", "in.telnetd": "telnet",
	"dropbear": "ssh", "sshd": "ssh",
	"httpd": "http", "lighttpd": "http", "boa": "http", "mini_httpd": "http", "thttpd": "http", "nginx": "http", "uhttpd": "http", "goahead": "http", "webs": "http", "appweb": "http", "apache2": "http", "monkey": "http", "civetweb": "http",
	"ftpd": "ftp", "vsftpd": "ftp", "proftpd": "ftp", "pure-ftpd": "ftp", "bftpd": "ftp", "stupid-ftpd": "ftp", "in.ftpd": "ftp",
	"tftpd": "tftp", "in.tftpd": "tftp", "atftpd": "tftp",
	"tcpsvd": "tcp", "udpsvd": "udp", "inetd": "inetd", "xinetd": "inetd",
	"rtspd": "rtsp", "rtsp_server": "rtsp", "rtspserver": "rtsp", "rtsp-server": "rtsp", "live555MediaServer": "rtsp", "live555ProxyServer": "rtsp", "mediamtx": "rtsp", "v4l2rtspserver": "rtsp",
	"onvif": "onvif", "onvifd": "onvif", "onvif_srvd": "onvif", "onvif_server": "onvif", "onvif_simple_server": "onvif", "wsdd": "onvif", "wsd_simple_server": "onvif",
	"snmpd": "snmp", "smbd": "smb", "nmbd": "smb", "mosquitto": "mqtt", "miniupnpd": "upnp", "upnpd": "upnp",
	"avahi-daemon": "mdns", "mdnsd": "mdns", "rpcbind": "rpc", "portmap": "rpc", "rpc.mountd": "nfs", "rpc.nfsd": "nfs",
	"rlogind": "rlogin", "rshd": "rsh", "in.rlogind": "rlogin", "in.rshd": "rsh", "rexecd": "rexec",
	"adbd": "adb", "gdbserver": "gdb", "ser2net": "serial", "dnsmasq": "dns", "udhcpd": "dhcp", "named": "dns",
}

const maxScript = 128 << 10

func (p *pass) services(head string) {
	if strings.Contains(p.where, "/usr/share/doc/") {
		return
	}
	shell := strings.HasPrefix(head, "#!") && strings.Contains(head, "sh") || path.Ext(p.base) == ".sh" || p.base == "rcS" || p.base == "rc.local"
	folder := path.Base(path.Dir(p.where))
	var each func(at place, line string)
	switch ext := path.Ext(p.base); {
	case p.base == "inittab":
		each = p.inittabLine
	case p.base == "inetd.conf":
		each = p.inetdLine
	case folder == "xinetd.d" || p.base == "xinetd.conf":
		p.xinetd()
		return
	case ext == ".service" || ext == ".socket":
		each = p.unitLine
	case shell:
		script := script{p: p, variables: make(map[string]string)}
		each = script.line
	default:
		return
	}
	if p.size > maxScript {
		return // a self-extracting archive, not a script that starts a unit
	}
	for at, line := range lines(p.text(maxScript)) {
		each(at, line)
		if len(p.report.Services) > maxServices {
			return
		}
	}
}

func (p *pass) service(at place, program, kind string, args []string) {
	one := Service{Name: word(path.Base(program)), Kind: kind, Program: word(program), Path: p.where, Line: at.line}
	for i := range args {
		value, attached := strings.CutPrefix(args[i], "-p")
		if attached && value == "" && i+1 < len(args) {
			value = args[i+1]
		}
		if attached && port.MatchString(value) {
			one.Port = value
		}
	}
	again := func(s Service) bool { return s.Program == one.Program && s.Kind == one.Kind && s.Port == one.Port }
	if !slices.ContainsFunc(p.report.Services, again) {
		p.report.Services = append(p.report.Services, one)
	}
}

var port = regexp.MustCompile(`^([0-9.]{1,15}:|\[?[0-9a-f:]{2,39}\]?:)?[0-9]{1,5}$`)

// inittabLine reads id:runlevels:action:process.
func (p *pass) inittabLine(at place, line string) {
	if f := strings.SplitN(line, ":", 4); len(f) == 4 && !strings.HasPrefix(strings.TrimSpace(line), "#") {
		s := script{p: p}
		s.line(at, strings.TrimLeft(f[3], "-"))
	}
}

// inetdLine reads service, socket, protocol, wait, user, program, arguments: each
// line is a port that is open.
func (p *pass) inetdLine(at place, line string) {
	f := strings.Fields(line)
	if len(f) >= 6 && !strings.HasPrefix(f[0], "#") && (f[1] == "stream" || f[1] == "dgram") {
		p.service(at, f[5], "inetd "+word(f[0]), nil)
	}
}

// xinetd reads blocks of name = value.
func (p *pass) xinetd() {
	var name, server string
	var off bool
	var begin place
	if p.size > maxScript {
		return
	}
	for at, line := range lines(p.text(maxScript)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && f[0] == "service":
			name, server, off, begin = f[1], "", false, at
		case len(f) >= 3 && f[0] == "server":
			server = f[2]
		case len(f) >= 3 && f[0] == "disable":
			off = f[2] == "yes"
		case len(f) == 1 && f[0] == "}":
			if name != "" && server != "" && !off && len(p.report.Services) < maxServices {
				p.service(begin, server, "inetd "+word(name), nil)
			}
			name = ""
		}
	}
}

// unitLine reads what a systemd unit starts, or where it listens (systemd.socket(5)).
func (p *pass) unitLine(at place, line string) {
	name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
	value = strings.TrimSpace(value)
	switch {
	case !ok:
	case name == "ExecStart":
		s := script{p: p}
		s.line(at, strings.TrimLeft(value, "-@:+!"))
	case name == "ListenStream" || name == "ListenDatagram":
		if port.MatchString(value) {
			p.service(at, p.base, "socket", []string{"-p" + value})
		}
	}
}

// script follows the commands of a shell script.
type script struct {
	p         *pass
	variables map[string]string
	goesOn    bool // the last line ended with a backslash
}

// prefixes are words that may stand before the program that a command starts.
var prefixes = []string{"exec", "nohup", "busybox", "setsid", "sudo", "then", "do", "else", "if", "while", "!", "time", "env", "daemon", "nice", "ionice", "eval", "command", "-"}

func (s *script) line(at place, line string) {
	list := commands(line)
	if s.goesOn && len(list) > 0 {
		list = list[1:] // arguments of the line before
	}
	s.goesOn = strings.HasSuffix(line, `\`)
	for _, words := range list {
		s.command(at, words)
	}
}

func (s *script) command(at place, words []string) {
	for len(words) > 0 {
		first := s.expand(words[0])
		if name, value, ok := strings.Cut(first, "="); ok && name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == "" {
			if s.variables != nil && len(s.variables) < 256 && len(value) < 256 {
				s.variables[name] = value
			}
			words = words[1:]
			continue
		}
		base := path.Base(first)
		if base == "start-stop-daemon" {
			if program := starts(words[1:]); program != "" {
				s.found(at, s.expand(program), words[1:])
			}
			return
		}
		if !slices.Contains(prefixes, base) {
			s.found(at, first, words[1:])
			return
		}
		words = words[1:]
		if base == "nice" || base == "ionice" {
			for len(words) > 0 && (strings.HasPrefix(words[0], "-") || number(words[0])) {
				words = words[1:]
			}
		}
	}
}

// starts returns the program that start-stop-daemon(8) is to start.
func starts(args []string) (program string) {
	start := false
	for i, a := range args {
		switch {
		case a == "--":
			return pick(start, program)
		case a == "--start":
			start = true
		case a == "--exec" || a == "--startas":
			if i+1 < len(args) {
				program = args[i+1]
			}
		case len(a) > 1 && a[0] == '-' && a[1] != '-':
			start = start || strings.Contains(a, "S")
			if (strings.HasSuffix(a, "x") || strings.HasSuffix(a, "a")) && i+1 < len(args) {
				program = args[i+1]
			}
		}
	}
	return pick(start, program)
}

func pick(start bool, program string) string {
	if !start {
		return ""
	}
	return program
}

func (s *script) found(at place, program string, args []string) {
	name := path.Base(program)
	kind, ok := daemons[name]
	switch {
	case slices.ContainsFunc(args, func(a string) bool { return a == "-?" || a == "--help" || a == "--version" }):
		return // it tells something and ends
	case slices.Contains([]string{"sshd", "nginx", "lighttpd"}, name) && slices.ContainsFunc(args, func(a string) bool { return a == "-t" || a == "-tt" || a == "-T" }):
		return // it checks its configuration and ends
	case !ok && (name == "nc" || name == "ncat" || name == "netcat"):
		kind, ok = "tcp", slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") && strings.Contains(a, "l") })
	}
	if ok {
		for i := range args {
			args[i] = s.expand(args[i])
		}
		s.p.service(at, program, kind, args)
	}
}

// expand replaces a word that is one variable, or begins with one, by its value.
func (s *script) expand(w string) string {
	if !strings.HasPrefix(w, "$") {
		return w
	}
	name, rest := w[1:], ""
	if strings.HasPrefix(name, "{") {
		name, rest, _ = strings.Cut(name[1:], "}")
		name, _, _ = strings.Cut(name, ":")
	} else if i := strings.IndexByte(name, '/'); i >= 0 {
		name, rest = name[:i], name[i:]
	}
	if value, ok := s.variables[name]; ok {
		return value + rest
	}
	return w
}

// commands splits a line of shell into commands and those into words, without
// quotes. Labels of case and names of functions are no commands.
func commands(line string) (list [][]string) {
	var words []string
	var current strings.Builder
	quoted, any := byte(0), false
	word := func() {
		if any {
			words = append(words, current.String())
		}
		current.Reset()
		any = false
	}
	end := func() {
		word()
		if len(words) > 0 {
			list = append(list, words)
		}
		words = nil
	}
	open := 0
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quoted != 0:
			if c == quoted {
				quoted = 0
			} else {
				current.WriteByte(c)
			}
			continue
		case c == '\'' || c == '"':
			quoted, any = c, true
			continue
		case c == '\\':
			if i++; i < len(line) {
				current.WriteByte(line[i])
				any = true
			}
			continue
		case c == '#' && !any:
			end()
			return list
		case c == ' ' || c == '\t':
			word()
			continue
		case c == '$' && i+1 < len(line) && line[i+1] == '{':
			if n := strings.IndexByte(line[i:], '}'); n > 0 {
				current.WriteString(line[i : i+n+1])
				any = true
				i += n
				continue
			}
		case c == '(':
			if any && len(words) == 0 { // a function
				current.Reset()
				any = false
			}
			open++
			end()
			continue
		case c == ')':
			if open == 0 { // a label
				current.Reset()
				any, words = false, nil
				continue
			}
			open--
			end()
			continue
		case strings.IndexByte(";|&`{}", c) >= 0:
			end()
			continue
		case c == '>' || c == '<':
			word()
			words = append(words, string(c))
			continue
		}
		current.WriteByte(c)
		any = true
	}
	end()
	return list
}
