package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/internal/elftest"
)

// fuzzed is what one file of that name holds.
func fuzzed(b []byte, where string) *Report {
	p := passes.Get().(*pass)
	defer p.release()
	p.begin(New(context.Background()), where, path.Base(where))
	p.file(bytes.NewReader(b), int64(len(b)))
	p.finish()
	r := p.report
	return &r
}

func TestAccountsAreListedWithTheSchemeAndNoHash(t *testing.T) {
	report := scanFiles(t, map[string]string{
		"etc/passwd":       "root:$1$abcdefgh$0123456789abcdefghijkl:0:0:root:/root:/bin/sh\nftp::0:0::/:/bin/sh\ndaemon:x:1:1::/:/bin/false\nold:ab0123456789.:5:5::/:/bin/sh\nnobody:*:99:99::/:/bin/false\n",
		"etc/shadow":       "root:$6$salt$hash:19000:0:99999:7:::\nadmin:!$5$salt$hash:19000:0:99999:7:::\nguest::10:0:99999:7:::\nbin:*:10:0:99999:7:::\nsys:!!:10:::::\nu:plaintext:10:0:99999:7:::\ny:$y$j9T$salt$hash:19000::::::\n",
		"www/.htpasswd":    "admin:$apr1$salt$hash\nuser:{SHA}hash\nx:y\n",
		"bin/setup":        "\x00root:$1$12345678$abcdefghijklmnopqrstuv:0:0::/:/bin/sh\x00",
		"etc/pam.d/passwd": "password required pam_unix.so\n@include common-password\n",
		"usr/share/passwd": "#!/bin/sh\ncase $1 in x:y) ;; esac\n",
	})
	var got []string
	for _, p := range report.Passwords {
		got = append(got, fmt.Sprintf("%s %s %s %v %d", strings.TrimPrefix(p.Path, "test@0x0/"), p.Account, p.Scheme, p.Locked, p.Offset))
	}
	want := []string{
		"bin/setup root md5crypt false 1",
		"etc/passwd root md5crypt false 0", "etc/passwd ftp empty false 63", "etc/passwd old des false 110",
		"etc/shadow root sha512crypt false 0", "etc/shadow admin sha256crypt true 37", "etc/shadow guest empty false 76", "etc/shadow u unrecognised false 136", "etc/shadow y yescrypt false 164",
		"www/.htpasswd admin apr1 false 0", "www/.htpasswd user sha1 false 22",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestStartScriptsTellWhatListens(t *testing.T) {
	report := scanFiles(t, map[string]string{
		"etc/inittab":             "::sysinit:/etc/init.d/rcS\n#::respawn:/sbin/ftpd\n::respawn:-/usr/sbin/telnetd -F -l /bin/login\nttyS0::respawn:/sbin/getty\n",
		"etc/init.d/rcS":          "#!/bin/sh\n# telnetd\ntelnetd -p 2323 &\nif [ -x /usr/sbin/ftpd ]; then echo ftpd; fi\nkillall httpd\n[ -f /x ] && /usr/sbin/lighttpd -f /etc/l.conf || boa -c /etc\nbusybox httpd -p 8080 -h /www\n",
		"etc/init.d/S50dropbear":  "#!/bin/sh\nDAEMON=/usr/sbin/dropbear\ncase \"$1\" in\n  start) start-stop-daemon -S -q -p /run/x.pid --exec $DAEMON -- -R ;;\n  stop) start-stop-daemon -K -q --exec $DAEMON ;;\n  dnsmasq) echo no ;;\nesac\nvsftpd() {\n echo x\n}\n",
		"etc/init.d/S60check":     "#!/bin/sh\nsshd -t\n/usr/sbin/sshd -\\?\nfor i in boa \\\n  httpd \\\n  boa; do echo $i; done\nLINE='telnetd'\nfind / -name telnetd\n",
		"etc/inetd.conf":          "#ftp stream tcp nowait root ftpd ftpd\ntelnet stream tcp nowait root /usr/sbin/telnetd telnetd -i\n",
		"etc/xinetd.d/ftp":        "service ftp\n{\n disable = no\n server = /usr/sbin/in.ftpd\n}\nservice tftp\n{\n disable = yes\n server = /usr/sbin/in.tftpd\n}\n",
		"lib/systemd/ssh.service": "[Service]\nExecStartPre=/usr/sbin/sshd -t\nExecStart=-/usr/sbin/sshd -D\n",
		"lib/systemd/x.socket":    "[Socket]\nListenStream=2222\nListenStream=/run/x\n",
		"usr/share/notes":         "telnetd\nhttpd -p 80\n",
		"home/start.sh":           "export PATH=/bin; cd /home; ./onvif_srvd --no_fork &\nnohup ./rtspd >/dev/null 2>&1 &\nnc -l -p 9999 -e /bin/sh\nnc 10.0.0.1 80\n",
	})
	var got []string
	for _, s := range report.Services {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s:%d %s %s %s", strings.TrimPrefix(s.Path, "test@0x0/"), s.Line, s.Kind, s.Program, s.Port)))
	}
	want := []string{
		"etc/inetd.conf:2 inetd telnet /usr/sbin/telnetd",
		"etc/init.d/S50dropbear:4 ssh /usr/sbin/dropbear",
		"etc/init.d/rcS:3 telnet telnetd 2323",
		"etc/init.d/rcS:6 http /usr/sbin/lighttpd",
		"etc/init.d/rcS:6 http boa",
		"etc/init.d/rcS:7 http httpd 8080",
		"etc/inittab:3 telnet /usr/sbin/telnetd",
		"etc/xinetd.d/ftp:1 inetd ftp /usr/sbin/in.ftpd",
		"home/start.sh:1 onvif ./onvif_srvd",
		"home/start.sh:2 rtsp ./rtspd",
		"home/start.sh:3 tcp nc 9999",
		"lib/systemd/ssh.service:3 ssh /usr/sbin/sshd",
		"lib/systemd/x.socket:2 socket x.socket 2222",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDatabasesOfPackageManagersAreRead(t *testing.T) {
	report := scanFiles(t, map[string]string{
		"usr/lib/opkg/status":      "Package: libc\nVersion: 1.1.24-2\nDepends: libgcc\nStatus: install ok installed\nArchitecture: mipsel_24kc\n\nPackage: gone\nVersion: 1\nStatus: deinstall ok config-files\n",
		"var/lib/dpkg/status":      "Package: dropbear\nStatus: install ok installed\nArchitecture: armhf\nVersion: 2022.83-1\nDescription: x\n Package: not-this\n\n",
		"lib/apk/db/installed":     "C:Q1abc=\nP:musl\nV:1.2.3-r4\nA:armv7\nL:MIT\nF:lib\n\nP:busybox\nV:1.35.0-r17\nA:armv7\n\n",
		"var/lib/rpm/rpmdb.sqlite": "SQLite format 3\x00",
		"proc/self/status":         "Package: no\nVersion: 1\n",
	})
	var got []string
	for _, p := range report.Packages {
		got = append(got, fmt.Sprintf("%s %s %s %s %d", p.Manager, p.Name, p.Version, p.Architecture, p.Offset))
	}
	want := []string{"apk musl 1.2.3-r4 armv7 9", "apk busybox 1.35.0-r17 armv7 48", "opkg libc 1.1.24-2 mipsel_24kc 0", "dpkg dropbear 2022.83-1 armhf 0"}
	if !slices.Equal(got, want) || len(report.Problems) != 1 {
		t.Errorf("got  %q\nwant %q, problems %q", got, want, report.Problems)
	}
}

func TestThePackagesOfThisDebianAreRead(t *testing.T) {
	b, err := os.ReadFile("/var/lib/dpkg/status")
	if err != nil {
		t.Skip("no dpkg here")
	}
	r := fuzzed(b, "var/lib/dpkg/status")
	if want := bytes.Count(b, []byte("\nStatus: install ok installed\n")); len(r.Packages) != want {
		t.Errorf("%d packages, want %d", len(r.Packages), want)
	}
}

func TestELFFilesAndModulesAreListed(t *testing.T) {
	this := make([]byte, 128)
	copy(this[12:], "hi_osal")
	report := scanFiles(t, map[string]string{
		"ko/hi_osal.ko":    string(elftest.File{Type: 1, Modinfo: "license=Proprietary\x00vermagic=4.9.37 SMP mod_unload ARMv7 p2v8 \x00", Module: this}.Build()),
		"lib/libmpi.so":    string(elftest.File{Type: 3, Exports: []string{"HI_MPI_SYS_Init"}, Imports: []string{"__stack_chk_fail"}}.Build()),
		"lib/libhi_mpi.so": string(elftest.File{Type: 3, Exports: []string{"HI_MPI_SYS_Init"}}.Build()),
		"bin/app":          string(elftest.File{Type: 2, Imports: []string{"HI_MPI_SYS_Init"}}.Build()),
		"bin/broken":       "\x7fELF and nothing more",
	})
	if len(report.Files) != 5 || report.Files[0].Arch != "arm" || report.Files[0].Type != "executable" || report.Files[1].Type != "broken" || report.Files[4].Hardening.Canary != "yes" {
		t.Errorf("files %+v", report.Files)
	}
	if len(report.Modules) != 1 || report.Modules[0].Name != "hi_osal" || report.Modules[0].Vermagic != "4.9.37 SMP mod_unload ARMv7 p2v8" {
		t.Errorf("modules %+v", report.Modules)
	}
	var got []string
	for _, c := range report.Components {
		got = append(got, strings.TrimSpace(c.Name+" "+c.Version)+" "+string(c.Evidence)+" "+c.Path)
	}
	want := []string{"Goke MPP symbols test@0x0/lib/libhi_mpi.so", "HiSilicon MPP symbols test@0x0/lib/libmpi.so", "Linux 4.9.37 vermagic test@0x0/ko/hi_osal.ko"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	for _, m := range report.Marks {
		if m.Strength == "c2" && (m.Rule != "hisilicon-library" || m.Path != "test@0x0/lib/libmpi.so" || m.Offset == 0) {
			t.Errorf("%+v", m)
		}
	}
}

func TestAppletsAreLinksOfOneBusyBox(t *testing.T) {
	files := []*firmware.File{
		{Path: "bin/busybox"}, {Path: "bin/ash", Target: "busybox"}, {Path: "bin/sh", Target: "/bin/ash"}, {Path: "linuxrc", Target: "bin/busybox"},
		{Path: "sbin/init", Target: "../bin/busybox"}, {Path: "bin/hard", Link: "bin/busybox"}, {Path: "usr", Target: "."}, {Path: "usr2/x", Target: "/usr/bin/busybox"},
		{Path: "bin/other", Target: "tool"}, {Path: "a", Target: "b"}, {Path: "b", Target: "a"}, {Path: "out", Target: "../../../bin/busybox"}, {Path: "deep", Target: strings.Repeat("x/", 100)},
	}
	got := linksTo(files, "bin/busybox")
	want := []string{"bin/ash", "bin/sh", "linuxrc", "sbin/init", "bin/hard", "usr2/x", "out"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestHostsOfPeopleAreNoMarks(t *testing.T) {
	for text, want := range map[string]bool{
		"author=Somebody <somebody@hisilicon.com>": false,
		"somebody@mail.hisilicon.com":              false,
		"see http://www.hisilicon.com/":            true,
		"\x00hisilicon.com\x00":                    true,
		"nothisilicon.com":                         false,
		"my-hisilicon.com":                         false,
		"hisilicon.com.example.org":                false,
		"hisilicon.com.":                           true,
	} {
		report := scanFiles(t, map[string]string{"f": text})
		if got := len(report.Marks) == 1; got != want {
			t.Errorf("%q: %+v", text, report.Marks)
		}
	}
}

func TestEntitiesOfMarksAreListed(t *testing.T) {
	b, err := os.ReadFile("../../attest/entity/data/entities.yaml")
	if err != nil {
		t.Skip("the list of entities is not here")
	}
	for _, r := range rules {
		if !bytes.Contains(b, []byte("\n- id: "+r.Entity+"\n")) {
			t.Errorf("%s: no entity is %s", r.ID, r.Entity)
		}
	}
}

// The report is the same whichever worker comes first, also where bounds cut it.
func TestTheReportDoesNotDependOnTheOrderOfTheVisits(t *testing.T) {
	fsys := fstest.MapFS{}
	for i := range 400 {
		name := fmt.Sprintf("d%03d/libcrypto.so", i)
		fsys[name] = &fstest.MapFile{Data: []byte(fmt.Sprintf("\x00OpenSSL 1.0.%d  11 Sep 2023\x00OPENSSLDIR: \"\x00DHFS4.1\x00http://www.hikvision.com/\x00", i))}
	}
	b := within(t, fsys)
	var first []byte
	for range 4 {
		report, err := take(context.Background(), b, budget.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		out, _ := json.Marshal(report)
		if first == nil {
			first = out
		}
		if !bytes.Equal(out, first) {
			t.Fatal("two reports differ")
		}
		if len(report.Components) != maxComponents || len(report.Problems) != 1 {
			t.Fatalf("%d components, problems %q", len(report.Components), report.Problems)
		}
	}
}

func TestWhatIsKeptDoesNotDependOnTheOrderOfTheVisits(t *testing.T) {
	const n = 40
	keep := func(order []int) string {
		c := New(context.Background())
		files := make([]firmware.File, n)
		for _, i := range order {
			p := passes.Get().(*pass)
			p.begin(c, fmt.Sprintf("f%02d", i), "f")
			p.report.Problems = []string{strings.Repeat("x", maxWeight/10)}
			c.keep(&files[i], p)
			p.release()
		}
		c.trim()
		var left []string
		for _, f := range c.found {
			left = append(left, f.where)
		}
		slices.Sort(left)
		return strings.Join(left, " ")
	}
	var up, down []int
	for i := range n {
		up, down = append(up, i), append(down, n-1-i)
	}
	if a, b := keep(up), keep(down); a != b || len(strings.Fields(a)) != 9 {
		t.Errorf("%s\n%s", a, b)
	}
}

func FuzzFiles(f *testing.F) {
	f.Add([]byte("root:$1$a$b:0:0:r:/:/bin/sh\n"))
	f.Add([]byte("#!/bin/sh\nA=${B:-c}\n$A telnetd -p 23 | `httpd` && (sshd) ; case x in y) ftpd ;; esac \\\n"))
	f.Add([]byte("Package: a\nVersion: 1\nStatus: install ok installed\n\nP:x\nV:1\n"))
	f.Add([]byte("service a\n{\nserver = /b\n}\n"))
	f.Add(elftest.File{Type: 1, Modinfo: "name=x\x00vermagic=y\x00", Exports: []string{"MI_SYS_Init"}}.Build())
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range []string{"etc/shadow", "etc/rcS", "etc/inittab", "etc/inetd.conf", "etc/xinetd.d/x", "x.service", "dpkg/status", "db/installed", "libmi_sys.so"} {
			for _, p := range fuzzed(b, name).Passwords {
				if p.Offset < 0 || p.Offset >= int64(len(b)) {
					t.Fatalf("%+v in %d bytes", p, len(b))
				}
			}
		}
	})
}
