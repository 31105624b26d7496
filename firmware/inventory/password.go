package inventory

import (
	"bytes"
	"iter"
	"regexp"
	"slices"
	"strings"
)

// Accounts stand in passwd(5) and shadow(5), in htpasswd files of web servers,
// and in programs and scripts that write those at each start. Of a hash only its
// scheme is kept, by its prefix (crypt(5) of libxcrypt).

const maxAccounts = 1 << 20 // bytes of such a file

var schemes = []struct{ prefix, name string }{
	{"$1$", "md5crypt"}, {"$apr1$", "apr1"}, {"$2", "bcrypt"}, {"$5$", "sha256crypt"}, {"$6$", "sha512crypt"}, {"$7$", "scrypt"},
	{"$y$", "yescrypt"}, {"$gy$", "gost-yescrypt"}, {"$md5", "sunmd5"}, {"$sha1$", "sha1crypt"}, {"$3$", "nthash"},
	{"{SHA}", "sha1"}, {"{SSHA}", "salted sha1"},
}

var (
	traditional = regexp.MustCompile(`^[./0-9A-Za-z]{13}$`)
	bsdi        = regexp.MustCompile(`^_[./0-9A-Za-z]{19}$`)
)

// scheme names how a password field is hashed. known is false where it does not
// look like any hash.
func scheme(field string) (name string, locked, known bool) {
	if rest := strings.TrimLeft(field, "!"); rest != field {
		name, _, _ = scheme(rest)
		if rest == "" || rest == "*" {
			name = "none"
		}
		return name, true, true
	}
	switch {
	case field == "":
		return "empty", false, true
	case field == "*" || field == "x" /* see shadow */ || field == "NP" || strings.HasPrefix(field, "*LK*"):
		return "none", true, true
	case traditional.MatchString(field):
		return "des", false, true
	case bsdi.MatchString(field):
		return "bsdi", false, true
	}
	for _, s := range schemes {
		if strings.HasPrefix(field, s.prefix) {
			return s.name, false, true
		}
	}
	return "unrecognised", false, false
}

// lines yields the lines of a file with their numbers and offsets.
func lines(text []byte) iter.Seq2[place, string] {
	return func(yield func(place, string) bool) {
		at := place{line: 1}
		for len(text) > 0 {
			line, rest, _ := bytes.Cut(text, []byte("\n"))
			if !yield(at, strings.TrimSuffix(string(line), "\r")) {
				return
			}
			at.offset += int64(len(text) - len(rest))
			at.line++
			text = rest
		}
	}
}

type place struct {
	line   int
	offset int64
}

var accountFiles = []string{"passwd", "shadow", "passwd-", "shadow-", "passwd.bak", "shadow.bak", "htpasswd", ".htpasswd", "lighttpd.user", "lighttpd-htdigest.user"}

func (p *pass) accounts() {
	if !slices.Contains(accountFiles, p.base) {
		return
	}
	for at, line := range lines(p.text(maxAccounts)) {
		name, rest, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t#$/") {
			continue
		}
		field, rest, more := strings.Cut(rest, ":")
		how, locked, known := scheme(field)
		switch {
		case more && (isPasswd(rest) || isShadow(rest)):
		case strings.Contains(p.base, "passwd") && !more && known && how != "empty" && how != "none", strings.HasSuffix(p.base, ".user"):
		default:
			continue
		}
		if how == "none" {
			continue // nobody gets in by it
		}
		p.report.Passwords = append(p.report.Passwords, Password{Account: word(name), Scheme: how, Locked: locked, Path: p.where, Offset: at.offset})
		if len(p.report.Passwords) > maxPasswords {
			return
		}
	}
}

// isPasswd tells whether a line goes on as passwd(5) says: user and group number,
// comment, home, shell.
func isPasswd(rest string) bool {
	f := strings.Split(rest, ":")
	return len(f) == 5 && f[0] != "" && number(f[0]) && number(f[1])
}

// isShadow tells whether a line goes on as shadow(5) says: seven numbers of days
// that may be missing.
func isShadow(rest string) bool {
	f := strings.Split(rest, ":")
	return len(f) >= 6 && len(f) <= 7 && !slices.ContainsFunc(f, func(s string) bool { return !number(strings.TrimPrefix(s, "-")) })
}

func number(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// accountLines are how lines of passwd begin that something writes at each start.
var accountLines = []string{"root:$", "admin:$"}

var accountLine = regexp.MustCompile(`^(root|admin):(\$(?:1|5|6|y|2[abxy]|apr1)\$[./0-9A-Za-z$=,]{20,200})`)

func (p *pass) accountLine(buf []byte, i int, pos int64) {
	if slices.Contains(accountFiles, p.base) || i > 0 && wordByte(buf[i-1]) || len(p.report.Passwords) > maxPasswords {
		return
	}
	m := accountLine.FindSubmatch(buf[i:min(len(buf), i+ahead)])
	if m == nil {
		return
	}
	how, locked, _ := scheme(string(m[2]))
	one := Password{Account: string(m[1]), Scheme: how, Locked: locked, Path: p.where, Offset: p.origin + pos}
	p.report.Passwords = append(p.report.Passwords, one)
}
