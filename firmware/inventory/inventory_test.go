package inventory

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"assay/firmware"
	"assay/firmware/budget"
	_ "assay/firmware/filesystem"
	_ "assay/firmware/format"
	"assay/firmware/internal/elftest"
	"assay/internal/peer"
)

// The file systems of tests are regions of their own: the images name them.
const testMagic = "INVENTORY TEST "

var testFS sync.Map

func init() {
	firmware.Register(firmware.Format{
		Name: "test", Magics: []firmware.Magic{{Bytes: testMagic}},
		Parse: func(w *firmware.Window) (*firmware.Region, error) {
			name, err := w.Bytes(0, int64(len(testMagic)+8))
			if err != nil {
				return nil, firmware.ErrNotFormat
			}
			fsys, ok := testFS.Load(string(name))
			if !ok {
				return nil, firmware.ErrNotFormat
			}
			return &firmware.Region{Size: int64(len(name)), State: firmware.Proven, FS: fsys.(fs.FS)}, nil
		},
	})
}

var testImages atomic.Int64

// within is an image of one region that holds a file system.
func within(t testing.TB, fsys fs.FS) []byte {
	name := fmt.Sprintf("%s%08d", testMagic, testImages.Add(1))
	testFS.Store(name, fsys)
	t.Cleanup(func() { testFS.Delete(name) })
	return []byte(name)
}

func take(ctx context.Context, b []byte, l budget.Limits) (*Report, error) {
	c := New(ctx)
	img, err := firmware.Open(ctx, bytes.NewReader(b), int64(len(b)), firmware.WithLimits(l), firmware.WithVisitor(c.Visit))
	report, rerr := c.Report(img)
	return report, errors.Join(err, rerr)
}

func scanFiles(t *testing.T, files map[string]string) *Report {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, b := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(b)}
	}
	return scanBytes(t, within(t, fsys))
}

func scanBytes(t *testing.T, b []byte) *Report {
	t.Helper()
	report, err := take(context.Background(), b, budget.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestEachRuleMatchesItsExamplesAndNotItsCounterexamples(t *testing.T) {
	for _, r := range rules {
		name := r.In
		if name == "" {
			name = "program"
		}
		hit := func(text string) bool {
			report := scanFiles(t, map[string]string{name: r.sample(t, text)})
			return slices.ContainsFunc(report.Marks, func(m Mark) bool { return m.Rule == r.ID && m.Entity == r.Entity && m.Strength == r.Strength })
		}
		for _, e := range r.Examples {
			if !hit(e) {
				t.Errorf("%s does not match its example %q", r.ID, e)
			}
		}
		for _, e := range r.Counterexamples {
			if hit(e) {
				t.Errorf("%s matches its counterexample %q", r.ID, e)
			}
		}
	}
}

// sample makes a file of what an example of a rule says: the bytes of a literal,
// the name of a symbol or a module, the name in a certificate. A text with "text "
// before it is a mere text in such a file.
func (r *rule) sample(t *testing.T, example string) string {
	text, mere := strings.CutPrefix(example, "text ")
	switch {
	case r.Literal != "":
		return example
	case r.Certificate != "":
		return string(certificate(t, text))
	case mere:
		return string(elftest.File{Type: 3, Rodata: "\x00" + text + "\x00"}.Build())
	case r.Module != "":
		return string(elftest.File{Type: 1, Modinfo: "license=Proprietary\x00name=" + text + "\x00"}.Build())
	case r.Of == "imports":
		return string(elftest.File{Type: 2, Imports: []string{text}}.Build())
	}
	return string(elftest.File{Type: 3, Exports: []string{text}}.Build())
}

// certificate is a self-signed one, as PEM, for "O=..., CN=...".
func certificate(t *testing.T, subject string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	name := pkix.Name{}
	for part := range strings.SplitSeq(subject, ";") {
		switch k, v, _ := strings.Cut(strings.TrimSpace(part), "="); k {
		case "O":
			name.Organization = []string{v}
		case "CN":
			name.CommonName = v
		}
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(77), Subject: name, NotBefore: time.Unix(1e9, 0), NotAfter: time.Unix(2e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestWordsInTextsAreHintsAtMost(t *testing.T) {
	report := scanFiles(t, map[string]string{
		"etc/onvif-brands.json": `["Hikvision","Dahua","Uniview","HiSilicon","hikvision.com","dahuasecurity.com","easy4ipcloud.com"]`,
		"etc/ssl/ca.pem":        "CN = www.hikvision.com, O = Hangzhou Hikvision Digital Technology\n",
		"usr/share/oui.txt":     "4C-BD-8F Hangzhou Hikvision Digital Technology Co.,Ltd.\nE0-50-8B Zhejiang Dahua Technology\n",
		"usr/bin/streamer":      "\x00libmi_sys.so\x00MI_SYS_Init\x00HI_MPI_SYS_Init\x00IMP_System_Init\x00dhav\x00DHAV\x00",
		"etc/u-boot-prompts":    "prompts: hisilicon, xmtech, SigmaStar, isvp_t31\n",
	})
	for _, m := range report.Marks {
		if m.Strength != "c1" {
			t.Errorf("%s is %s in %s", m.Rule, m.Strength, m.Path)
		}
	}
	if len(report.Marks) < 5 {
		t.Errorf("only %d hints", len(report.Marks))
	}
}

func TestComponentsComeFromTheSoftwareItself(t *testing.T) {
	report := scanFiles(t, map[string]string{
		"bin/busybox":             "\x7fELF\x00BusyBox v1.31.1 (2026-05-07 10:11:12 UTC)\x00",
		"bin/copy-of-busybox":     "\x7fELF\x00BusyBox v1.31.1 (2026-05-07 10:11:12 UTC)\x00",
		"lib/libcrypto.so.1.1":    "\x00OpenSSL 1.1.1w  11 Sep 2023\x00OPENSSLDIR: \"/etc/ssl\"\x00",
		"usr/bin/client":          "\x00OpenSSL 1.0.2k  26 Jan 2017\x00",
		"usr/sbin/dropbear":       "\x00SSH-2.0-dropbear_2020.81\x00",
		"usr/sbin/lighttpd":       "\x00lighttpd/1.4.55\x00",
		"usr/bin/agents":          "\x00lighttpd/1.4.20 dnsmasq-2.70\x00",
		"usr/sbin/dnsmasq":        "\x00dnsmasq-2.80\x00",
		"usr/sbin/wpa_supplicant": "\x00wpa_supplicant v2.9\x00",
		"usr/bin/boa":             "\x00Boa/0.94.14rc21\x00",
	})
	var got []string
	for _, c := range report.Components {
		got = append(got, c.Name+" "+c.Version+" "+c.Path)
	}
	slices.Sort(got)
	want := []string{
		"BusyBox 1.31.1 test@0x0/bin/busybox",
		"OpenSSL 1.1.1w test@0x0/lib/libcrypto.so.1.1",
		"boa 0.94.14rc21 test@0x0/usr/bin/boa",
		"dnsmasq 2.80 test@0x0/usr/sbin/dnsmasq",
		"dropbear 2020.81 test@0x0/usr/sbin/dropbear",
		"lighttpd 1.4.55 test@0x0/usr/sbin/lighttpd",
		"wpa_supplicant 2.9 test@0x0/usr/sbin/wpa_supplicant",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTheOffsetLeadsToTheEvidenceAtEachPlaceInAPiece(t *testing.T) {
	const mark = "DHFS4.1"
	for _, at := range []int{0, 1, chunkSize - 7, chunkSize - 1, chunkSize, chunkSize + ahead - 3, chunkSize + behind + ahead, 3*chunkSize + 5} {
		b := bytes.Repeat([]byte{7}, at+len(mark)+1)
		copy(b[at:], mark)
		report := scanFiles(t, map[string]string{"f": string(b)})
		if len(report.Marks) != 1 || report.Marks[0].Offset != int64(at) || report.Marks[0].Match != mark {
			t.Errorf("at %d: %+v", at, report.Marks)
		}
	}
}

func TestBytesOutsideFileSystemsAreSearchedOnce(t *testing.T) {
	b := bytes.Repeat([]byte{9}, 30_000)
	copy(b[100:], "U-Boot 2016.11 (May 07 2026 - 10:11:12 +0000)xmtech\x00")
	copy(b[20_000:], "\x00xmtech # \x00")
	report := scanBytes(t, b)
	if len(report.Components) != 1 || report.Components[0].Name != "U-Boot" || report.Components[0].Path != "u-boot@0x0" || report.Components[0].Offset != 100 {
		t.Errorf("components %+v", report.Components)
	}
	if len(report.Marks) != 1 || report.Marks[0].Entity != "xiongmai" || report.Marks[0].Strength != "c2" || report.Marks[0].Offset != 20_001 {
		t.Errorf("marks %+v", report.Marks)
	}
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

func TestArchivesInsideFilesAreUnpacked(t *testing.T) {
	inner := zipped([]byte("some text before \x00HIKVISION@HANGZHOU\x00 and after"))
	report := scanFiles(t, map[string]string{"home/app.tar.gz": string(zipped(append([]byte("once more: "), inner...)))})
	if len(report.Marks) != 1 || report.Marks[0].Rule != "hikvision-disk" || !strings.HasPrefix(report.Marks[0].Path, "test@0x0/home/app.tar.gz/gzip@0x0/gzip@0xb/") {
		t.Errorf("%+v, problems %q", report.Marks, report.Problems)
	}
}

func TestABombAmongTheFilesHidesNothingBehindIt(t *testing.T) {
	fsys := fstest.MapFS{
		"a.gz": {Data: zipped(make([]byte, 64<<20))},
		"z":    {Data: []byte("DHFS4.1")},
	}
	report, err := take(context.Background(), within(t, fsys), budget.Limits{Held: 1 << 20})
	if !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("err = %v", err)
	}
	if len(report.Marks) != 1 {
		t.Errorf("marks %+v", report.Marks)
	}
}

func TestACancelledScanEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := take(ctx, within(t, fstest.MapFS{"f": {Data: []byte("x")}}), budget.Limits{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("err = %v", err)
	}
}

func TestOneRuleCannotFillTheReport(t *testing.T) {
	files := map[string]string{}
	for i := range 100 {
		files[fmt.Sprint(i)] = "DHFS4.1 DHFS4.1 DHFS4.1"
	}
	if n := len(scanFiles(t, files).Marks); n != maxPerRule {
		t.Errorf("%d marks, want %d", n, maxPerRule)
	}
}

func TestARootFileSystemOfMksquashfsIsInventoried(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "root", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	busybox := bytes.Repeat([]byte("\x7fELF code "), 40_000)
	copy(busybox[300_000:], "\x00BusyBox v1.36.1 (2026-05-07 10:11:12 UTC)\x00")
	if err := os.WriteFile(filepath.Join(bin, "busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("busybox", filepath.Join(bin, "ash")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(bin, "busybox"), filepath.Join(bin, "sh")); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "image")
	cmd := exec.Command(peer.Need(t, "mksquashfs", "squashfs-tools"), filepath.Join(dir, "root"), image, "-comp", "xz", "-no-progress")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	report := scanBytes(t, b)
	if len(report.Components) != 1 || report.Components[0].Version != "1.36.1" || report.Components[0].Path != "squashfs@0x0/bin/busybox" || report.Components[0].Offset != 300_001 || !slices.Equal(report.Components[0].Applets, []string{"bin/ash", "bin/sh"}) {
		t.Errorf("components %+v, problems %q", report.Components, report.Problems)
	}
}

func TestAMarksFileThatSaysTooLittleIsRefused(t *testing.T) {
	good := "schema: assay.marks/v1\ndate: '2026-11-23'\nrules:\n- {id: a, literal: abcdef, entity: e, subject: soc, strength: c1, says: s, source: x, examples: [abcdef], counterexamples: [b]}\n"
	if _, err := parseRules([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"another schema":    strings.Replace(good, "marks/v1", "marks/v2", 1),
		"no source":         strings.Replace(good, "source: x, ", "", 1),
		"no example":        strings.Replace(good, "examples: [abcdef], ", "", 1),
		"an unknown field":  strings.Replace(good, "says: s", "says: s, sais: s", 1),
		"a short literal":   strings.Replace(good, "literal: abcdef", "literal: abcde", 1),
		"proof by a string": strings.Replace(good, "c1", "c3", 1),
		"another subject":   strings.Replace(good, "soc", "sock", 1),
		"a bad expression":  strings.Replace(good, "literal: abcdef", "literal: abcdef, match: '('", 1),
		"the same id twice": good + strings.Split(good, "rules:\n")[1],
	} {
		if _, err := parseRules([]byte(bad)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte("\x00BusyBox v1.31.1 (2026-05-07 10:11:12 UTC)\x00HIKVISION@HANGZHOU\x00Linux version 4.9.37 (a@b) (gcc) #1 x"))
	f.Add([]byte("Hi3516EV200_MPP_V1.0.1.2 B030 Release isvp_t31# OpenSSL 1.1.1w  11 Sep 2023 OPENSSLDIR: \""))
	f.Fuzz(func(t *testing.T, b []byte) {
		report, err := take(context.Background(), within(t, fstest.MapFS{"libmpi.so": {Data: b}}), budget.Limits{Held: 1 << 20, Bytes: 1 << 22})
		if err != nil && !errors.Is(err, budget.ErrExceeded) {
			t.Fatal(err)
		}
		for _, m := range report.Marks {
			if strings.HasSuffix(m.Path, "libmpi.so") && (m.Offset < 0 || m.Offset >= int64(len(b))) {
				t.Fatalf("%+v in %d bytes", m, len(b))
			}
		}
	})
}

// BenchmarkScan searches ordinary bytes and nothing else.
func BenchmarkScan(b *testing.B) {
	noise := make([]byte, 16<<20)
	for i := range noise {
		noise[i] = byte(i * i >> 7)
	}
	text := bytes.Repeat([]byte("GET /cgi-bin/snapshot.cgi?channel=1 HTTP/1.1 of a camera with version and mode\r\n"), 16<<20/80)
	own, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	program, err := os.ReadFile(own)
	if err != nil {
		b.Fatal(err)
	}
	for name, data := range map[string][]byte{"noise": noise, "text": text, "program": program} {
		b.Run(name, func(b *testing.B) {
			c := New(context.Background())
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				p := passes.Get().(*pass)
				p.begin(c, "f", "f")
				p.search(bytes.NewReader(data), int64(len(data)), 0)
				p.finish()
				p.release()
			}
		})
	}
}
