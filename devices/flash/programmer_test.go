//go:build unix

package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/internal/peer"
)

// kept is a sink that keeps all.
type kept struct {
	claims    map[string]attest.Claim
	artefacts map[string][]byte
	problems  []string
}

func newKept() *kept {
	return &kept{claims: map[string]attest.Claim{}, artefacts: map[string][]byte{}}
}

func (k *kept) Artefact(_, what string, raw []byte) attest.Digest {
	k.artefacts[what] = raw
	return attest.DigestOf(raw)
}
func (k *kept) Claim(c attest.Claim) string { k.claims[c.Name] = c; return "" }
func (k *kept) Mark(attest.Mark) string     { return "" }
func (k *kept) Problem(_ attest.ProblemKind, source, says string) {
	k.problems = append(k.problems, says)
}
func (k *kept) value(name string) string { return k.claims[name].Value }

// real is Debian's flashrom, and a chip of noise that it emulates.
func real(t testing.TB, chip string, size int) (program, image, programmer string, content []byte) {
	program = peer.Need(t, "flashrom", "flashrom")
	content = random(size)
	image = filepath.Join(t.TempDir(), "chip.bin")
	if err := os.WriteFile(image, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return program, image, fmt.Sprintf("dummy:emulate=%s,image=%s", chip, image), content
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// script is a program that stands in for flashrom.
func script(t testing.TB, text string) string {
	path := filepath.Join(t.TempDir(), "flashrom")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func clip(t testing.TB, program string, target devices.Target) *Programmer {
	target.Kind = devices.KindSPI
	p, err := OpenProgrammer(target, Options{Program: program})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(p.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left behind", p.dir)
		}
	})
	return p
}

func TestAChipIsReadTwiceAndByteByByteAndLeftAlone(t *testing.T) {
	for _, c := range []struct {
		emulate, chip, vendor, part, jedec string
		size                               int
	}{
		{"W25Q128FV", "", "Winbond", "W25Q128.V", "ef 40 18", 16 << 20},
		{"SST25VF032B", "", "SST", "SST25VF032B", "bf 25 4a", 4 << 20},
		{"MX25L6436", "MX25L6436E/MX25L6445E/MX25L6465E/MX25L6473E/MX25L6473F", "Macronix", "MX25L6436E/MX25L6445E/MX25L6465E/MX25L6473E/MX25L6473F", "c2 20 17", 8 << 20},
	} {
		t.Run(c.emulate, func(t *testing.T) {
			program, image, programmer, want := real(t, c.emulate, c.size)
			p := clip(t, program, devices.Target{Programmer: programmer, Chip: c.chip})
			sink := newKept()
			if err := p.Identify(t.Context(), sink); err != nil {
				t.Fatal(err)
			}
			for name, value := range map[string]string{"vendor": c.vendor, "part": c.part, "jedec-id": c.jedec, "size": fmt.Sprint(c.size)} {
				if sink.value(name) != value {
					t.Errorf("%s is %q, want %q", name, sink.value(name), value)
				}
			}
			if reader := sink.value("reader"); !strings.Contains(reader, "sha256:") || !strings.Contains(reader, program) {
				t.Errorf("the program is named as %q", reader)
			}
			banks, err := p.Banks(t.Context())
			if err != nil || len(banks) != 1 || banks[0].Size != int64(c.size) {
				t.Fatalf("%+v, %v", banks, err)
			}
			got := make(copied, c.size)
			var last, total int64
			if err := p.ReadBank(t.Context(), banks[0], got, func(done, all int64) { last, total = done, all }); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) || last != total || last != 2*int64(c.size) {
				t.Fatalf("the copy differs, or progress ended at %d of %d", last, total)
			}
			if after, err := os.ReadFile(image); err != nil || !bytes.Equal(after, want) {
				t.Fatalf("the chip was changed: %v", err)
			}
			if n := len(sink.artefacts); n != 3 { // the probe's log, and one for each of two reads
				t.Errorf("%d artefacts", n)
			}
		})
	}
}

func TestAnEmulatedChipIsNobodysDirectRead(t *testing.T) {
	for programmer, want := range map[string]attest.Acquisition{"dummy:emulate=W25Q128FV": attest.A0, "ch341a_spi": attest.A4} {
		p := clip(t, "/bin/false", devices.Target{Programmer: programmer})
		if got := p.acquisition(); got != want {
			t.Errorf("%s is %s, want %s", programmer, got, want)
		}
	}
}

func TestSeveralChipsThatFitAreNamedToBeChosenFrom(t *testing.T) {
	program, _, programmer, _ := real(t, "MX25L6436", 8<<20)
	err := clip(t, program, devices.Target{Programmer: programmer}).Identify(t.Context(), newKept())
	if !errors.Is(err, devices.ErrMalformed) || !strings.Contains(err.Error(), "?chip=NAME") || !strings.Contains(err.Error(), "MX25L6405D") {
		t.Fatal(err)
	}
}

// The wrapper calls the real program and then changes what it read.
func changing(t *testing.T, program, change string) string {
	return script(t, fmt.Sprintf(`n=%[1]s/count
for a; do [ "$last" = -r ] && file=$a; last=$a; done
%[2]q "$@" || exit
[ -n "$file" ] || exit 0
i=$(cat $n 2>/dev/null || echo 0); i=$((i + 1)); echo $i >$n
put() { printf "$2" | dd of="$file" bs=1 seek=$1 conv=notrunc status=none; }
%[3]s
`, t.TempDir(), program, change))
}

func TestBitsThatFlipInOneReadAreReadAgain(t *testing.T) {
	program, _, programmer, want := real(t, "SST25VF032B", 4<<20)
	wrapper := changing(t, program, fmt.Sprintf(`[ $i = 2 ] && { put 70000 '\%03o'; put 4194303 '\%03o'; } || :`, want[70000]^1, want[4194303]^0x80))
	p := clip(t, wrapper, devices.Target{Programmer: programmer})
	sink := newKept()
	if err := p.Identify(t.Context(), sink); err != nil {
		t.Fatal(err)
	}
	banks, _ := p.Banks(t.Context())
	got := make(copied, len(want))
	if err := p.ReadBank(t.Context(), banks[0], got, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("two good reads of three did not win")
	}
	if !slices.ContainsFunc(sink.problems, func(s string) bool { return strings.Contains(s, "2 of 1024 sectors") }) {
		t.Errorf("nobody is told: %q", sink.problems)
	}
}

func TestSectorsOnWhichNoTwoReadsAgreeAreUnreadAndNotWritten(t *testing.T) {
	program, _, programmer, want := real(t, "SST25VF032B", 4<<20)
	wrapper := changing(t, program, `put 8192 "\\00$i"; put 12300 "\\00$i"; put 1048576 "\\00$i"`)
	p := clip(t, wrapper, devices.Target{Programmer: programmer})
	if err := p.Identify(t.Context(), newKept()); err != nil {
		t.Fatal(err)
	}
	banks, _ := p.Banks(t.Context())
	got := make(copied, len(want))
	err := p.ReadBank(t.Context(), banks[0], got, nil)
	var unread *devices.UnreadError
	if !errors.As(err, &unread) || !slices.Equal(unread.Extents, []attest.Extent{{Offset: 8192, Size: 8192}, {Offset: 1048576, Size: 4096}}) {
		t.Fatalf("%v: %+v", err, unread)
	}
	for _, x := range unread.Extents {
		clear(want[x.Offset : x.Offset+x.Size])
	}
	if !bytes.Equal(got, want) {
		t.Fatal("what was not read was written, or what was read was not")
	}
}

func TestFlashromIsOnlyEverAskedToRead(t *testing.T) {
	program, _, programmer, _ := real(t, "SST25VF032B", 4<<20)
	log := filepath.Join(t.TempDir(), "args")
	wrapper := script(t, fmt.Sprintf("printf '%%s\\n' \"$@\" >>%s; env >>%s.env\nexec %q \"$@\"\n", log, log, program))
	t.Setenv("ASSAY_PASSWORD", "s3cret")
	p := clip(t, wrapper, devices.Target{Programmer: programmer})
	if err := p.Identify(t.Context(), newKept()); err != nil {
		t.Fatal(err)
	}
	banks, _ := p.Banks(t.Context())
	if err := p.ReadBank(t.Context(), banks[0], make(copied, banks[0].Size), nil); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for arg := range strings.Lines(string(b)) {
		arg = strings.TrimSpace(arg)
		value := last == "-p" || last == "-c" || last == "-r"
		if !value && !slices.Contains([]string{"--help", "-p", "-c", "-V", "-r", "--flash-size", "--progress"}, arg) {
			t.Errorf("flashrom was given %q", arg)
		}
		if last = arg; value {
			last = ""
		}
	}
	if env, err := os.ReadFile(log + ".env"); err != nil || bytes.Contains(env, []byte("s3cret")) || bytes.Contains(env, []byte("HOME=")) {
		t.Errorf("it was given our environment: %s, %v", env, err)
	}
}

func TestWhatIsMissingIsNamedWithWhatToDo(t *testing.T) {
	program := peer.Need(t, "flashrom", "flashrom")
	for name, c := range map[string]struct {
		target devices.Target
		is     error
		says   string
	}{
		"no programmer plugged in": {devices.Target{Programmer: "ch341a_spi"}, devices.ErrUnreachable, "plugged in"},
		"no such device":           {devices.Target{Programmer: "linux_spi:dev=/dev/spidev77.7"}, devices.ErrUnreachable, "/dev/spidev77.7"},
		"an unknown programmer":    {devices.Target{Programmer: "ch341b"}, devices.ErrUnreachable, "flashrom -L"},
		"no chip at the clip":      {devices.Target{Programmer: "dummy"}, devices.ErrUnreachable, "pin 1"},
		"an unknown chip":          {devices.Target{Programmer: "dummy:emulate=W25Q128FV", Chip: "W25Q128XX"}, devices.ErrMalformed, "?chip="},
	} {
		t.Run(name, func(t *testing.T) {
			sink := newKept()
			err := clip(t, program, c.target).Identify(t.Context(), sink)
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Fatal(err)
			}
			if len(sink.artefacts) != 1 {
				t.Error("its log is not kept")
			}
		})
	}
	for name, c := range map[string]struct {
		log  string
		is   error
		says string
	}{
		"no right to the USB device": {"Error: libusb_open failed: LIBUSB_ERROR_ACCESS\nError: Programmer initialization failed.\n", devices.ErrAccess, "plugdev"},
		"no right to spidev":         {"linux_spi_init: failed to open /dev/spidev0.0: Permission denied\nError: Programmer initialization failed.\n", devices.ErrAccess, "group"},
		"busy":                       {"Error: Device or resource busy\nError: Programmer initialization failed.\n", devices.ErrAccess, "another program"},
		"nothing said":               {"", devices.ErrUnreachable, "says nothing"},
	} {
		if err := failure([]byte(c.log)); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	saved := besidePath
	besidePath = nil
	defer func() { besidePath = saved }()
	if _, err := OpenProgrammer(devices.Target{Kind: devices.KindSPI, Programmer: "ch341a_spi"}, Options{}); !errors.Is(err, devices.ErrUnreachable) || !strings.Contains(err.Error(), "install the package flashrom") {
		t.Error(err)
	}
}

// says is what a fake flashrom answers to a probe.
const says = `case "$*" in *--help*) echo "flashrom 9.9 on Test"; exit;; *--flash-size*) echo 'Found Test flash chip "T1" (64 kB, SPI) on test.'; echo 65536; exit;; esac
for a; do [ "$last" = -r ] && file=$a; last=$a; done
`

func TestAHostileProgramIsStoppedWithAnError(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		is     error
		says   string
	}{
		"endless output":        {"exec yes 'Found it'", devices.ErrHostile, "without end"},
		"endless output inside": {"yes & yes & yes", devices.ErrHostile, "without end"},
		"a chip of no size":     {`case "$*" in *--help*) exit;; esac; echo 'Found A flash chip "B" (0 kB, SPI)'`, devices.ErrMalformed, "0 kB"},
		"a chip of two sizes":   {`case "$*" in *--help*) exit;; esac; echo 'Found A flash chip "B" (64 kB, SPI)'; echo 65535`, devices.ErrMalformed, "65535"},
		"a chip beyond bounds":  {`case "$*" in *--help*) exit;; esac; echo 'Found A flash chip "B" (99999999 kB, SPI)'`, devices.ErrMalformed, "99999999"},
		"no chip, no failure":   {`echo hello`, devices.ErrMalformed, "hello"},
		"escape sequences":      {`printf '\033]0;owned\007'; exit 1`, devices.ErrUnreachable, ""},
		"a short file":          {says + `head -c 65535 /dev/zero >"$file"`, devices.ErrMalformed, "65535 bytes"},
		"a long file":           {says + `head -c 65537 /dev/zero >"$file"`, devices.ErrMalformed, "65537 bytes"},
		"no file":               {says, devices.ErrMalformed, "left no file"},
		"a link for a file":     {says + `ln -s /etc/passwd "$file"`, devices.ErrMalformed, "for a chip"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := clip(t, script(t, c.script), devices.Target{Programmer: "ch341a_spi"})
			err := p.Identify(t.Context(), newKept())
			if err == nil {
				banks, _ := p.Banks(t.Context())
				err = p.ReadBank(t.Context(), banks[0], make(copied, 64<<10), nil)
			}
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || strings.ContainsAny(err.Error(), "\033\007\n") {
				t.Fatalf("%q", err)
			}
		})
	}
}

func TestAProgramThatHangsIsEndedWithAllItStarted(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	f := flashrom{path: script(t, "sleep 1000 & echo $! >"+pid+"; wait"), programmer: "ch341a_spi"}
	start := time.Now()
	_, err := f.run(t.Context(), 200*time.Millisecond, nil, "--help")
	if !errors.Is(err, devices.ErrUnreachable) || !strings.Contains(err.Error(), "still busy after 200ms") {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := f.run(ctx, time.Hour, nil, "--help"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Fatalf("it took %s", took)
	}
}

func TestProgressIsReadWhereItIsPrinted(t *testing.T) {
	p := clip(t, script(t, `case "$*" in *--help*) echo " --progress"; esac
`+says+`case "$*" in *--progress*) printf '[READ] 25%% complete... '; sleep 0.1; printf '\010\010[READ: 50%%]';; esac
head -c 65536 /dev/zero >"$file"`), devices.Target{Programmer: "ch341a_spi"})
	sink := newKept()
	if err := p.Identify(t.Context(), sink); err != nil {
		t.Fatal(err)
	}
	banks, _ := p.Banks(t.Context())
	var seen []int64
	if err := p.ReadBank(t.Context(), banks[0], make(copied, 64<<10), func(done, total int64) { seen = append(seen, done) }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{32 << 10, 64 << 10, 96 << 10, 128 << 10} {
		if !slices.Contains(seen, want) {
			t.Errorf("%d is not among %d", want, seen)
		}
	}
	if !slices.ContainsFunc(sink.problems, func(s string) bool { return strings.Contains(s, "reads as erased") }) {
		t.Errorf("a chip of zeros is taken for granted: %q", sink.problems)
	}
}

func FuzzFlashromLog(f *testing.F) {
	f.Add([]byte("Probing for Winbond W25Q128.V, 16384 kB: compare_id: id1 0xef, id2 0x4018\nFound Winbond flash chip \"W25Q128.V\" (16384 kB, SPI) on dummy.\n16777216\n"))
	f.Add([]byte("Multiple flash chip definitions match the detected chip(s): \"A\", \"B\"\n"))
	f.Add([]byte("[READ] 25% complete... [READ: 99%]\nWARNING: 5 V\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		if c, err := chipIn(log); err == nil && (c.size <= 0 || c.size > maxChip || c.part == "") {
			t.Fatalf("%+v", c)
		}
		if err := failure(log); strings.ContainsAny(err.Error(), "\n\033") {
			t.Fatalf("%q", err)
		}
		warnings(log)
		versionIn(log)
		if n, _ := percentIn(log); n < 0 || n > 100 {
			t.Fatal(n)
		}
	})
}
