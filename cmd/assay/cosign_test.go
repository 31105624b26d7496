package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"assay/attest/permit"
)

// cosign is the stock verifier, as scripts/cosign.sh builds it.
func cosign(t *testing.T) string {
	t.Helper()
	peers := os.Getenv("ASSAY_PEERS")
	if peers == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatalf("no folder to find cosign in: %v; set ASSAY_PEERS", err)
		}
		peers = filepath.Join(home, ".cache", "assay-peers")
	}
	path := filepath.Join(peers, "bin", "cosign")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("cosign is not built: run scripts/cosign.sh")
	}
	t.Skip("cosign is not built: run scripts/cosign.sh")
	return ""
}

// verifies runs cosign as docs/permit.md tells a third party to, in an
// environment that knows nothing of this station and reaches no network.
func verifies(t *testing.T, program, key, folder string) (bool, string) {
	t.Helper()
	cmd := exec.Command(program, "verify-blob-attestation", "--key", key, "--insecure-ignore-tlog",
		"--type", permit.Type, "--bundle", permit.BundleFile, permit.IdentityFile)
	cmd.Dir = folder
	nowhere := "http://127.0.0.1:1"
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "HTTP_PROXY=" + nowhere, "HTTPS_PROXY=" + nowhere}
	out, err := cmd.CombinedOutput()
	return err == nil, string(out)
}

func TestPermitsOfBothKindsVerifyWithCosignAndNotWhenTheyAreChanged(t *testing.T) {
	t.Parallel()
	program := cosign(t)
	b := newBench(t)
	b.trust()
	b.write("signed.bin", b.demo("vendor-signed"))
	b.write("relabelled.bin", b.demo("relabelled"))
	camera := simulatedCamera(t, "vendor-signed")
	b.write("password", []byte("demo-fjordlens"))
	console := simulatedConsole(t, "vendor-signed", b.path("signed.bin"), nil)

	b.want(exitOK, "certify", camera.URL, serial(console.Device), "--endorsement", demoPath(t, "fjordlens-4.2.1.dsse.json"),
		"--user", "service", "--password-file", "password", "--out", "permitted")
	b.want(exitRefused, "certify", "file:relabelled.bin?acquired=A4", "--out", "refused")
	key := b.path("home/keys/station.pub")
	for _, folder := range []string{"permitted", "refused"} {
		if ok, out := verifies(t, program, key, b.path(folder)); !ok {
			t.Fatalf("%s: cosign says: %s", folder, out)
		}
	}

	bundle, identity := b.read("permitted/"+permit.BundleFile), b.read("permitted/"+permit.IdentityFile)
	for _, c := range []struct {
		name             string
		bundle, identity []byte
	}{
		{"another unit's identity", bundle, b.read("refused/" + permit.IdentityFile)},
		{"a changed serial number", bundle, bytes.Replace(identity, []byte("FLB2-000117"), []byte("FLB2-000118"), 1)},
		{"a refusal turned into a permit", edited(t, b.read("refused/"+permit.BundleFile), `"verdict":"refused"`, `"verdict":"permitted"`), b.read("refused/" + permit.IdentityFile)},
		{"a later end", edited(t, bundle, `"notAfter":"20`, `"notAfter":"30`), identity},
		{"another permit's signature", transplanted(t, bundle, b.read("refused/"+permit.BundleFile)), identity},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &bench{t: t, dir: t.TempDir(), binary: b.binary, env: b.env}
			b.write(permit.BundleFile, c.bundle)
			b.write(permit.IdentityFile, c.identity)
			if ok, _ := verifies(t, program, key, b.dir); ok {
				t.Error("cosign takes it")
			}
			b.want(exitInvalid, "check", permit.BundleFile)
		})
	}
}

// forged changes a bundle's envelope.
func forged(t *testing.T, bundle []byte, change func(e *permit.Envelope)) []byte {
	t.Helper()
	doc, err := permit.ParseBundle(bundle)
	if err != nil {
		t.Fatal(err)
	}
	change(&doc.Envelope)
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// edited replaces text in a permit's signed payload.
func edited(t *testing.T, bundle []byte, from, to string) []byte {
	t.Helper()
	return forged(t, bundle, func(e *permit.Envelope) {
		payload, err := base64.StdEncoding.DecodeString(e.Payload)
		if err != nil || !bytes.Contains(payload, []byte(from)) {
			t.Fatalf("the payload does not hold %q: %v", from, err)
		}
		e.Payload = base64.StdEncoding.EncodeToString(bytes.Replace(payload, []byte(from), []byte(to), 1))
	})
}

// transplanted is a permit with the signature of another.
func transplanted(t *testing.T, bundle, donor []byte) []byte {
	t.Helper()
	return forged(t, bundle, func(e *permit.Envelope) {
		forged(t, donor, func(other *permit.Envelope) { e.Signatures = other.Signatures })
	})
}

func TestAKeyMadeByCosignSignsPermits(t *testing.T) {
	t.Parallel()
	program := cosign(t)
	b := newBench(t)
	generate := exec.Command(program, "generate-key-pair")
	generate.Dir = b.dir
	generate.Env = append(os.Environ(), "COSIGN_PASSWORD=battery staple", "HOME="+b.dir)
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.write("flash.bin", b.demo("relabelled"))
	b.write("passphrase", []byte("battery staple\n"))
	b.want(exitRefused, "certify", "file:flash.bin?acquired=A4", "--key", "cosign.key", "--passphrase-file", "passphrase", "--out", "unit")
	b.want(exitRefused, "check", "unit/permit.sigstore.json", "--key", "cosign.pub")
	b.want(exitInvalid, "check", "unit/permit.sigstore.json")
	if ok, out := verifies(t, program, b.path("cosign.pub"), b.path("unit")); !ok {
		t.Errorf("cosign says: %s", out)
	}
	if ok, _ := verifies(t, program, b.path("home/keys/station.pub"), b.path("unit")); ok {
		t.Error("cosign takes it for the station's own")
	}
}
