//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"assay/attest/permit"
	"assay/devices/simulator/console"
)

func TestSimulatedCamerasRunUntilTheyAreInterrupted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	cmd := b.command(t.Context(), "simulate", "relabelled", "console:relabelled")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	targets := map[string]string{}
	for lines := bufio.NewScanner(stdout); len(targets) < 2 && lines.Scan(); {
		name, target, _ := strings.Cut(lines.Text(), " ")
		targets[name] = strings.TrimSpace(target)
	}
	o := b.want(exitOK, "identify", targets["relabelled"], targets["console:relabelled"], "--json")
	o.has(t, "evidence/marks/strength=c2/entity", "hikvision")
	o.has(t, "evidence/claims/acquisition=A2/value", "NGS20250311AAWR000000042")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// slowly is a line that takes two minutes and more for the flash.
func slowly(c *console.Config) { c.Quirks.BytesPerSec = 40000 }

// disturb runs the program until it reads flash from s, and then disturbs it.
// It must end soon.
func (b *bench) disturb(s *console.Console, how func(p *os.Process), args ...string) outcome {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := b.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	for ctx.Err() == nil && strings.Count(strings.Join(s.Log(), "\n"), "md") < 3 {
		time.Sleep(20 * time.Millisecond)
	}
	how(cmd.Process)
	cmd.Wait()
	if ctx.Err() != nil {
		b.t.Fatalf("%q did not end: %q %s", args, s.Log(), stderr.String())
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func TestCtrlCInASlowDumpKeepsWhatWasCollected(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("flash.bin", b.demo("vendor-signed"))
	s := simulatedConsole(t, "vendor-signed", b.path("flash.bin"), slowly)
	o := b.disturb(s, func(p *os.Process) { p.Signal(os.Interrupt) }, "certify", serial(s.Device), "--out", "unit")
	if o.code != exitOther || !strings.Contains(o.stderr, "interrupted") {
		t.Errorf("exit code %d, %q", o.code, o.stderr)
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

func TestADumpThatEndsEarlyKeepsWhatWasRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		disturb func(p *os.Process, s *console.Console)
		says    string
	}{
		{"Ctrl-C", func(p *os.Process, _ *console.Console) { p.Signal(os.Interrupt) }, "unread"},
		{"an adapter that is pulled", func(_ *os.Process, s *console.Console) { s.Close() }, "unread"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			flash := b.demo("vendor-signed")
			b.write("flash.bin", flash)
			s := simulatedConsole(t, "vendor-signed", b.path("flash.bin"), slowly)
			o := b.disturb(s, func(p *os.Process) { c.disturb(p, s) }, "dump", serial(s.Device), "--out", "read.bin", "--wait", "0s", "--json")
			if o.code != exitOther || !strings.Contains(o.stderr, c.says) {
				t.Errorf("exit code %d, %q", o.code, o.stderr)
			}
			read := b.read("read.bin")
			kept := 0
			offsets, sizes := o.fields(t, "pieces/*/offset"), o.fields(t, "pieces/*/size")
			for i := range offsets {
				at, _ := strconv.Atoi(offsets[i])
				n, _ := strconv.Atoi(sizes[i])
				if kept += n; !bytes.Equal(read[at:at+n], flash[at:at+n]) {
					t.Errorf("the %d bytes at %#x are not the flash's", n, at)
				}
			}
			unread := 0
			for _, n := range o.fields(t, "unread/*/size") {
				size, _ := strconv.Atoi(n)
				unread += size
			}
			if kept == 0 || unread == 0 || kept+unread != len(flash) {
				t.Errorf("%d bytes kept and %d unread of %d", kept, unread, len(flash))
			}
		})
	}
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

func TestADumpThatWasKilledGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("flash.bin", b.demo("vendor-signed"))
	s := simulatedConsole(t, "vendor-signed", b.path("flash.bin"), func(c *console.Config) { c.Quirks.BytesPerSec = 400_000 })
	b.disturb(s, func(p *os.Process) { time.Sleep(time.Second); p.Kill() }, "dump", serial(s.Device), "--out", "read.bin")
	record := b.read("read.bin.readout")
	if n := bytes.Count(record, []byte("\n")); n < 3 {
		t.Fatalf("the record has %d lines: %q", n, record)
	}
	o := b.want(exitOK, "dump", serial(s.Device), "--out", "read.bin", "--json")
	if n := o.fields(t, "resumed"); len(n) != 1 {
		t.Errorf("nothing was there: %q", n)
	}
	if !bytes.Equal(b.read("read.bin"), b.read("flash.bin")) {
		t.Error("the dump differs from the flash")
	}
	b.want(exitUsage, "dump", serial(s.Device), "--out", "read.bin")

	// Another unit's flash is not mixed into it.
	if err := os.WriteFile(b.path("read.bin.readout"), record, 0o600); err != nil {
		t.Fatal(err)
	}
	other := simulatedConsole(t, "vendor-signed", "", func(c *console.Config) {
		c.NOR[0].Image, c.NOR[0].Content = "", bytes.Repeat([]byte("another camera "), 1<<16)
	})
	o = b.want(exitOther, "dump", serial(other.Device), "--out", "read.bin")
	if !strings.Contains(o.stderr, "is it the same unit?") {
		t.Errorf("%q", o.stderr)
	}
}
