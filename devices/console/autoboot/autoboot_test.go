package autoboot

import (
	"bytes"
	"encoding/csv"
	"os"
	"strings"
	"testing"
)

func TestTheDataHolds(t *testing.T) {
	if _, err := parse(embedded); err != nil {
		t.Fatal(err)
	}
}

func TestBadDataIsRefused(t *testing.T) {
	good := string(embedded)
	for name, bad := range map[string]string{
		"no schema":                  strings.Replace(good, "assay.autoboot/v1", "x", 1),
		"an unknown field":           strings.Replace(good, "stops:", "surprise: 1\nstops:", 1),
		"an example that is none":    strings.Replace(good, `- "DH-Boot 2.0"`, `- "Boot 2.0"`, 1),
		"a key without a group":      strings.Replace(good, `keys: ["*"]`, `keys: ["$1"]`, 1),
		"a mode that is none":        strings.Replace(good, "mode: repeat", "mode: flood", 1),
		"a pattern that is none":     strings.Replace(good, `banner: '(?i)<RealTek>`, `banner: '(?i)(<RealTek>`, 1),
		"no family that is the last": strings.Replace(good, "banner: ''", "banner: 'x'", 1),
		"nothing":                    "",
	} {
		if _, err := parse([]byte(bad)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTheFirstFamilyWhoseBannerIsThere(t *testing.T) {
	for text, want := range map[string]struct{ family, key string }{
		"U-Boot 2010.06-svn (Jan 15 2018 - 20:50:54)\nHit ctrl+u to stop autoboot:  1 ": {"Hikvision, EZVIZ", "\x15"},
		"DRAM: 1 GiB\ngBootLogPtr:80b80008.\nHit any key to stop autoboot: 0":           {"Dahua", "*"},
		"\nIPL g2cd6de2\nD-05\n":                                  {"SigmaStar", "\r"},
		"SF: Got idcode c2 20 17\nPress 'E' to stop autoboot:  0": {"a key by name", "E"},
		"Hit X to stop autoboot:":                                 {"a key by name", "X"},
		"Press ENTER to interrupt boot in 1...\n":                 {"enter", "\r"},
		"U-Boot 2013.07\nHit any key to stop autoboot:  1 ":       {"U-Boot", "\x03"},
		"Hit key to stop autoboot('CTRL+C'):  0":                  {"Ctrl-C by name", "\x03"},
		"Press SPACE to abort autoboot in 1 seconds":              {"space", " "},
		"Amboot(R) Ambarella(R) Copyright (C) 2004-2014":          {"Ambarella", "\r"},
		"":                 {"U-Boot", "\x03"},
		"garbage \xff\xfe": {"U-Boot", "\x03"},
	} {
		s := For([]byte(text))
		if s.Family != want.family || len(s.Keys) == 0 || s.Keys[0] != want.key {
			t.Errorf("%q is %s, %q, want %s, %q", text, s.Family, s.Keys, want.family, want.key)
		}
	}
}

// Whoever sends no key to a loader that hashes its input, and no Enter to one
// that is not known to need it, damages nothing.
func TestNothingIsSentThatDoesHarm(t *testing.T) {
	if s := For([]byte("Enter password - autoboot in 3 sec...\nHit any key to stop autoboot: 3")); len(s.Keys) != 0 || s.Mode != Once || s.Password != Instead {
		t.Errorf("a loader that compares a string must not get keys: %+v", s)
	}
	for _, s := range Stops() {
		for i, k := range s.Keys {
			if k == "\r" && (s.Banner.MatchString("") || len(s.Keys) > 1 && i == 0) {
				t.Errorf("%s: Enter is the last resort", s.Family)
			}
			if k != "$1" && strings.ContainsAny(k, "yYuU1\x04\x1a\x13") {
				t.Errorf("%s: key %q answers menus, or stops the line", s.Family, k)
			}
		}
	}
	if last := Stops()[len(Stops())-1]; last.Keys[0] != "\x03" {
		t.Errorf("an unknown loader gets Ctrl-C, not %q", last.Keys)
	}
}

func TestPrompts(t *testing.T) {
	for _, line := range []string{"=> ", "HKVS # ", "xmtech # ", "isvp_t31# ", "NA51023>", "nvt@na51055: ", "anyka$", "SigmaStar # ", "amboot> ", "pps # ", "<RealTek>", "> "} {
		if _, ok := Prompt(line); !ok {
			t.Errorf("%q is a prompt", line)
		}
	}
	for _, line := range []string{"", "~ # ", "$ ", "# ", "root@NVTEVM:~$ ", "crc32 for 0 ... f ==> 1234", "login: ", "Password:", strings.Repeat("=", 100) + "> "} {
		if s, ok := Prompt(line); ok {
			t.Errorf("%q is no loader's prompt, is %s", line, s.Family)
		}
	}
}

// Each row of the shared sample collection's table, which is not part of this
// repository, is answered with its key.
func TestTheCollectionsTableIsIn(t *testing.T) {
	f, err := os.Open("../../../../shared/corpus/serial/tables/autoboot-by-vendor.csv")
	if err != nil {
		t.Skip("the sample collection is not here")
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = -1 // its last row has an unquoted comma
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]struct{ banner, key, prompt string }{
		"U-Boot default":              {"Hit any key to stop autoboot:", "\x03", "=> "},
		"HiSilicon SDK / XM":          {"Hit any key to stop autoboot:", "\x03", "hisilicon # "},
		"Goke":                        {"", "\x03", "goke # "},
		"Hikvision / EZVIZ / OEM":     {"Hit Ctrl+u to stop autoboot:", "\x15", "HKVS # "},
		"Dahua / Amcrest / Lorex OEM": {"DH-Boot", "*", "> "},
		"SigmaStar":                   {"MStar SD/MMC: 0", "\r", "SigmaStar # "},
		"Ingenic T-series":            {"Hit any key to stop autoboot:", "\x03", "isvp_t20# "},
		"Novatek (Reolink)":           {"Hit any key to stop autoboot:", "\x03", "NA51023> "},
		"Sonix (SV3C)":                {"Hit any key", "\x03", "sonix # "},
		"PPStrong/Chacon":             {"password :", "", "pps # "},
		"Realtek RTS39xx (Tapo C200)": {"<RealTek>", "\x1b", "rlxboot# "},
		"labgrid/tbot/LAVA defaults":  {"autoboot:  3", "\x03", "=> "},
	}
	for _, row := range rows[1:] {
		want, ok := known[row[0]]
		if !ok {
			t.Errorf("%s: not looked at", row[0])
			continue
		}
		if keys := For([]byte(want.banner)).Keys; strings.Join(keys[:min(1, len(keys))], "") != want.key {
			t.Errorf("%s: %q", row[0], keys)
		}
		if _, ok := Prompt(want.prompt); !ok {
			t.Errorf("%s: prompt %q", row[0], want.prompt)
		}
	}
}

func FuzzFor(f *testing.F) {
	for _, s := range Stops() {
		f.Add([]byte(s.Family))
	}
	f.Add([]byte("Press 'E' to stop autoboot:  0"))
	f.Add(bytes.Repeat([]byte("Hit \xff"), 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := For(b)
		for _, k := range s.Keys {
			if len(k) == 0 || len(k) > 3 {
				t.Fatalf("%q: key %q", b, k)
			}
		}
		Prompt(string(b))
	})
}
