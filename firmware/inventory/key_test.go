package inventory

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"assay/internal/peer"
)

// openssl runs the program and returns what it printed.
func openssl(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(peer.Need(t, "openssl", "openssl"), args...).Output()
	if err != nil {
		t.Fatalf("openssl %q: %v", args, err)
	}
	return out
}

// der is what is in a PEM block.
func der(t *testing.T, text []byte) []byte {
	t.Helper()
	b, _ := pem.Decode(text)
	if b == nil {
		t.Fatalf("no PEM in %q", text)
	}
	return b.Bytes
}

func TestKeysOfOpenSSLAreKnownByTheirPublicHalf(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, k := range []struct {
		name, algorithm string
		make            []string
		old             string // the command for the key's own older format
	}{
		{"rsa", "RSA 2048", []string{"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, "rsa"},
		{"short", "RSA 1024", []string{"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"}, "rsa"},
		{"ec", "ECDSA P-256", []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, "ec"},
		{"ed25519", "Ed25519", []string{"-algorithm", "ED25519"}, ""},
	} {
		openssl(t, append([]string{"genpkey", "-out", at(k.name)}, k.make...)...)
		private, err := os.ReadFile(at(k.name))
		if err != nil {
			t.Fatal(err)
		}
		public := openssl(t, "pkey", "-in", at(k.name), "-pubout")
		sum := sha256.Sum256(der(t, public))
		files := map[string]string{"private.pem": string(private), "public.pem": string(public)}
		files["script.sh"] = "#!/bin/sh\nKEY=\"" + strings.ReplaceAll(string(private), "\n", `\n`) + "\"\n"
		if k.name != "ed25519" {
			files["private.bin"] = "noise\x00" + string(der(t, private)) + "\x00noise"
			files["public.bin"] = "noise\x00\x00" + string(der(t, public)) + "\x00noise"
		}
		if k.old != "" {
			args := []string{k.old, "-in", at(k.name)}
			if k.old == "rsa" {
				args = append(args, "-traditional")
			}
			old := openssl(t, args...)
			files["old.pem"] = string(old)
			if k.old == "rsa" {
				files["old.bin"] = "abc" + string(der(t, old)) + "def"
			}
		}
		files["encrypted.pem"] = string(openssl(t, "pkcs8", "-topk8", "-in", at(k.name), "-passout", "pass:x"))

		for name, text := range files {
			report := scanFiles(t, map[string]string{name: text})
			if len(report.Keys) != 1 {
				t.Errorf("%s %s: keys %+v", k.name, name, report.Keys)
				continue
			}
			got := report.Keys[0]
			want := Key{Private: name != "public.pem" && name != "public.bin", Algorithm: k.algorithm, Format: got.Format, SPKI: hex.EncodeToString(sum[:]), Path: "test@0x0/" + name, Offset: got.Offset}
			if name == "encrypted.pem" {
				want.Encrypted, want.Algorithm, want.SPKI = true, "", ""
			}
			if got != want {
				t.Errorf("%s %s:\ngot  %+v\nwant %+v", k.name, name, got, want)
			}
			if i := strings.Index(text, "-----BEGIN"); i >= 0 && k.old != "ec" && got.Offset != int64(i) {
				t.Errorf("%s %s: offset %d", k.name, name, got.Offset)
			}
		}
	}
}

func TestNoPrivateByteIsInAReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	openssl(t, "genpkey", "-algorithm", "RSA", "-out", path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	shadow := "root:$6$saltsalt$Zg1Yp3bD0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ./012345678:19000:0:99999:7:::\n"
	broken := strings.Replace(string(text), "-----END", "----END", 1)
	cut := text[:len(text)/2]
	report := scanFiles(t, map[string]string{"key.pem": string(text), "broken.pem": broken, "cut.pem": string(cut), "key.bin": string(der(t, text)), "etc/shadow": shadow, "set.sh": "#!/bin/sh\necho '" + strings.TrimSpace(shadow) + "' >/etc/shadow\n"})
	out, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for _, secret := range append(lines[1:len(lines)-2], "saltsalt", "Zg1Yp3bD") {
		if strings.Contains(string(out), secret[:min(len(secret), 16)]) {
			t.Errorf("%q is in the report", secret)
		}
	}
	problems := 0
	for _, k := range report.Keys {
		if k.Problem != "" {
			problems++
		}
	}
	if len(report.Keys) != 4 && len(report.Keys) != 3 || problems != 2 || len(report.Passwords) != 2 {
		t.Errorf("%s", out)
	}
}

func TestKeysOfSSHAreKnownByTheirPublicHalf(t *testing.T) {
	dir := t.TempDir()
	keygen := peer.Need(t, "ssh-keygen", "openssh-client")
	for kind, algorithm := range map[string]string{"rsa": "RSA 2048", "ed25519": "Ed25519", "ecdsa": "ECDSA P-256"} {
		path := filepath.Join(dir, kind)
		args := []string{"-q", "-t", kind, "-N", "", "-C", "x", "-f", path}
		if kind == "rsa" {
			args = append(args, "-b", "2048")
		}
		if out, err := exec.Command(keygen, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		private, _ := os.ReadFile(path)
		public, _ := os.ReadFile(path + ".pub")
		spki := ""
		if kind != "ed25519" {
			pkcs8, err := exec.Command(keygen, "-e", "-m", "PKCS8", "-f", path+".pub").Output()
			if err != nil {
				t.Fatal(err)
			}
			s := sha256.Sum256(der(t, pkcs8))
			spki = hex.EncodeToString(s[:])
		}
		report := scanFiles(t, map[string]string{"id": string(private), "root/.ssh/authorized_keys": "# factory\n" + string(public)})
		if len(report.Keys) != 2 {
			t.Fatalf("%s: %+v", kind, report.Keys)
		}
		for _, k := range report.Keys {
			if k.Algorithm != algorithm || spki != "" && k.SPKI != spki || k.SPKI == "" || k.Private != strings.HasSuffix(k.Path, "/id") || k.Problem != "" {
				t.Errorf("%s: %+v, want %s", kind, k, spki)
			}
		}
		if report.Keys[0].SPKI != report.Keys[1].SPKI {
			t.Errorf("%s: the two halves differ: %+v", kind, report.Keys)
		}
	}
}

func TestCertificatesAreReadAsPEMAndInTheMidstOfPrograms(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, algorithm := range [][]string{{"rsa:2048"}, {"ec", "-pkeyopt", "ec_paramgen_curve:P-256"}} {
		args := append([]string{"req", "-x509", "-nodes", "-days", "30", "-subj", "/O=Example/CN=unit", "-keyout", path("key"), "-out", path("cert"), "-newkey"}, algorithm...)
		openssl(t, args...)
		text, err := os.ReadFile(path("cert"))
		if err != nil {
			t.Fatal(err)
		}
		body := der(t, text)
		sum := sha256.Sum256(body)
		serial := strings.ToLower(strings.TrimPrefix(strings.TrimSpace(string(openssl(t, "x509", "-in", path("cert"), "-noout", "-serial"))), "serial="))
		bundle := "CN=unit\n=======\n" + string(text) + string(text[:200]) + "\n-----END CERTIFICATE-----\n"
		report := scanFiles(t, map[string]string{"bundle.pem": bundle, "lib/app": "\x00" + string(body) + "\x00"})
		if len(report.Certificates) != 2 {
			t.Fatalf("%+v", report.Certificates)
		}
		for i, c := range report.Certificates {
			if i == 1 {
				if !strings.Contains(c.Problem, "broken") {
					t.Errorf("%+v", c)
				}
				continue
			}
			if c.SHA256 != hex.EncodeToString(sum[:]) || c.Subject != "CN=unit,O=Example" || c.Issuer != c.Subject || strings.TrimLeft(serial, "0") != c.Serial || c.NotAfter.Before(c.NotBefore) || c.SPKI == "" || c.Problem != "" {
				t.Errorf("%+v", c)
			}
		}
		only := scanFiles(t, map[string]string{"lib/app": "\x00" + string(body) + "\x00"})
		if len(only.Certificates) != 1 || only.Certificates[0].Offset != 1 || len(only.Keys) != 0 {
			t.Errorf("%+v keys %+v", only.Certificates, only.Keys)
		}
	}
}

func TestTextsOfProgramsThatReadKeysAreNone(t *testing.T) {
	report := scanFiles(t, map[string]string{
		"libcrypto.so": "\x00-----BEGIN %s-----\x00-----BEGIN CERTIFICATE-----\x00-----END CERTIFICATE-----\x00-----BEGIN RSA PRIVATE KEY-----\n\x00-----BEGIN PRIVATE KEY-----\x00RSA PRIVATE KEY\x00",
		"oids":         "\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x30\x82\x01\x00\x30\x82\x02\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01",
		"help":         "put your ssh-rsa AAAAB3NzaC1yc2E... here",
	})
	if len(report.Keys)+len(report.Certificates) != 0 {
		t.Errorf("%+v %+v", report.Keys, report.Certificates)
	}
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIBAAAAAAAAAAAAAAAA\n-----END RSA PRIVATE KEY-----\n"))
	f.Add([]byte("\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00"))
	f.Add([]byte("\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04"))
	f.Add([]byte("\x30\x82\x02\x5c\x02\x01\x00\x02\x81\x81\x00"))
	f.Add([]byte("\x00\x00\x00\x07ssh-rsa\x00\x00\x00\x03\x01\x00\x01\x00\x00\x00\x81\x00"))
	f.Add([]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range []string{"dropbear_rsa_host_key", "file"} {
			report := fuzzed(b, name)
			for _, k := range report.Keys {
				if k.Offset < 0 || k.Offset >= int64(len(b)) {
					t.Fatalf("%+v in %d bytes", k, len(b))
				}
			}
			for _, c := range report.Certificates {
				if c.Offset < 0 || c.Offset >= int64(len(b)) {
					t.Fatalf("%+v in %d bytes", c, len(b))
				}
			}
		}
	})
}
