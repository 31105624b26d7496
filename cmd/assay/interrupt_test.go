//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"assay/attest/permit"
	"assay/devices/simulator/console"
)

func TestCtrlCInASlowDumpKeepsWhatWasCollected(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("flash.bin", b.demo("vendor-signed"))
	s := simulatedConsole(t, "vendor-signed", b.path("flash.bin"), func(c *console.Config) {
		c.Quirks.BytesPerSec = 40000 // two minutes and more for the flash
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := b.command(ctx, "certify", serial(s.Device), "--out", "unit")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for dumping := 0; dumping < 2; dumping = strings.Count(strings.Join(s.Log(), "\n"), "md") {
		if ctx.Err() != nil {
			cmd.Wait()
			t.Fatalf("no dump was begun: %q %s", s.Log(), stderr.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
	start := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if ctx.Err() != nil {
		t.Fatal("it did not end")
	}
	t.Logf("ended after %v", time.Since(start).Round(time.Millisecond))
	if code := cmd.ProcessState.ExitCode(); code != exitOther || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
	ev := b.evidenceOf("unit")
	if len(ev.Unit.Serials) != 1 || ev.Unit.Serials[0] != "FLB2-000117" {
		t.Errorf("serial numbers %q", ev.Unit.Serials)
	}
	transcript := false
	for _, a := range ev.Artefacts {
		transcript = transcript || strings.Contains(string(b.read("unit/artefacts/"+a.Digest.Hex())), "U-Boot 2021.07")
	}
	if !transcript {
		t.Errorf("no transcript of the console among %d artefacts", len(ev.Artefacts))
	}
	if b.has("unit/" + permit.BundleFile) {
		t.Error("there is a permit")
	}
	b.want(exitOK, "register", "ls", "--json").has(t, "permits", "0")
}

func TestARegisterOpensAfterEveryKillAndListsWholePermitsOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("flash.bin", b.demo("relabelled"))
	const kills = 40
	folder := func(i int) string { return fmt.Sprintf("killed-%d", i) }
	cut, registering := 0, 0
	for i := range kills {
		cmd := exec.Command(b.binary, "certify", "file:flash.bin?acquired=A4", "--out", folder(i))
		cmd.Dir, cmd.Env = b.dir, b.env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// A quarter anywhere before the result, the others where it hurts: the
		// register is written between the result and the permit.
		if i%4 == 0 {
			time.Sleep(time.Duration(i) * 5 * time.Millisecond)
		} else {
			for range 10000 {
				if b.has(folder(i) + "/result.json") {
					break
				}
				time.Sleep(time.Millisecond)
			}
			time.Sleep(time.Duration(i) * time.Millisecond)
			if !b.has(folder(i) + "/" + permit.BundleFile) {
				registering++
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
			cut++
		}
	}
	o := b.want(exitOK, "register", "ls", "--json")
	ids := o.fields(t, "permits/*/id")
	if cut == 0 || registering == 0 || len(ids) == 0 {
		t.Fatalf("%d killed, %d of them while registering, %d permits: nothing was put to the test", cut, registering, len(ids))
	}
	for _, id := range ids {
		b.want(exitOK, "register", "show", id, "--json").has(t, "evidence/images/*/acquisition", "A4")
		b.want(exitOK, "register", "export", id, "--out", "export-"+id)
		b.want(exitRefused, "check", "export-"+id+"/"+permit.BundleFile)
		b.evidenceOf("export-" + id)
	}
	// A folder that has the permit is complete, and the register has it.
	for i := range kills {
		if !b.has(folder(i) + "/" + permit.BundleFile) {
			continue
		}
		checked := b.want(exitRefused, "check", folder(i)+"/"+permit.BundleFile, "--json")
		o.has(t, "permits/*/id", checked.fields(t, "id")[0])
		b.evidenceOf(folder(i))
	}
	b.want(exitRefused, "certify", "file:flash.bin?acquired=A4", "--out", "last")
	t.Logf("%d of %d were cut short, %d while registering; the register has %d permits", cut, kills, registering, len(ids))
}
