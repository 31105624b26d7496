package console

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/internal/peer"
	"assay/internal/qemu"
	"assay/internal/testflash"
)

// kept is a sink that remembers.
type kept struct {
	mu        sync.Mutex
	claims    []attest.Claim
	problems  []attest.Problem
	artefacts map[string][]byte
}

func (k *kept) Artefact(_, what string, raw []byte) attest.Digest {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.artefacts == nil {
		k.artefacts = map[string][]byte{}
	}
	k.artefacts[what] = bytes.Clone(raw)
	return attest.DigestOf(raw)
}

func (k *kept) Claim(c attest.Claim) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.claims = append(k.claims, c)
	return fmt.Sprint("c", len(k.claims))
}

func (k *kept) Mark(attest.Mark) string { return "" }

func (k *kept) Problem(kind attest.ProblemKind, source, says string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.problems = append(k.problems, attest.Problem{Kind: kind, Source: source, Says: says})
}

// value returns the value of the first claim.
func (k *kept) value(subject attest.Subject, name string) string {
	for _, c := range k.claims {
		if c.Subject == subject && c.Name == name {
			return c.Value
		}
	}
	return ""
}

// memory is a dump in memory; what was never written stays 0xEE.
type memory []byte

func (m memory) WriteAt(b []byte, off int64) (int, error) { return copy(m[off:], b), nil }

func newMemory(size int64) memory { return bytes.Repeat([]byte{0xee}, int(size)) }

func startUBoot(t *testing.T, arch, flash, dtb string) *qemu.Machine {
	program, loader, err := qemu.Programs(arch)
	if err != nil {
		t.Fatal(err)
	}
	peer.Need(t, program, "qemu-system-arm")
	if _, err := os.Stat(loader); err != nil {
		peer.Need(t, loader, "u-boot-qemu")
	}
	m, err := qemu.StartUBoot(t.Context(), arch, flash, dtb)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	return m
}

func signedFlash(t *testing.T, o testflash.Options) *testflash.Flash {
	for program, debian := range testflash.Programs {
		peer.Need(t, program, debian)
	}
	f, err := testflash.Signed(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestARealUBootIsIdentifiedAndItsFlashReadByteForByte(t *testing.T) {
	flash := signedFlash(t, testflash.Options{})
	for _, arch := range []string{"arm64", "arm"} {
		t.Run(arch, func(t *testing.T) {
			m := startUBoot(t, arch, flash.Path, "")
			sink := &kept{}
			c := Open(devices.Target{Kind: devices.KindSerial, Device: m.Device, Baud: 115200}, Options{Progress: func(s string) { t.Log(s) }})
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			if err := c.Identify(ctx, sink); err != nil {
				t.Fatalf("%v\n%s", err, c.log.take())
			}
			for _, cl := range sink.claims {
				t.Log(cl.Subject, cl.Name, cl.Value, "|", cl.Source)
			}
			for _, p := range sink.problems {
				t.Error(p)
			}
			banks, err := c.Banks(ctx)
			if err != nil || len(banks) != 2 || banks[1].Address != 0x4000000 || banks[1].Size != qemu.BankSize {
				t.Fatalf("banks %+v, %v", banks, err)
			}
			got := newMemory(banks[1].Size)
			start := time.Now()
			if err := c.ReadBank(ctx, banks[1], got, nil); err != nil {
				t.Fatal(err)
			}
			t.Logf("read in %v", time.Since(start))
			want := append(bytes.Clone(flash.Image), bytes.Repeat([]byte{0xff}, qemu.BankSize-len(flash.Image))...)
			if !bytes.Equal(got, want) {
				t.Fatal("the dump differs from the flash")
			}
		})
	}
}
