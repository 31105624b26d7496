//go:build unix

package power

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"assay/internal/peer"
)

// script writes a program of the shell and returns its path.
func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

func TestAProgramIsCalledWithOffAndThenOn(t *testing.T) {
	dir := t.TempDir()
	relay := script(t, dir, "my relay", `echo "$@" "$ASSAY_PASSWORD$ASSAY_PASSPHRASE" >>`+dir+`/calls; printf 'done \033[31m%s\n' "$2"`)
	t.Setenv("ASSAY_PASSWORD", "secret")
	t.Setenv("ASSAY_PASSPHRASE", "secret")
	sw, err := Parse("'" + relay + "' --outlet=3")
	if err != nil {
		t.Fatal(err)
	}
	var j journal
	if err := Cycle(WithLog(t.Context(), j.add), sw, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	calls, _ := os.ReadFile(filepath.Join(dir, "calls"))
	if string(calls) != "--outlet=3 off \n--outlet=3 on \n" {
		t.Errorf("called with %q", calls)
	}
	want := fmt.Sprintf("power: %q --outlet=3 off\npower: %s said: done  [31moff\npower: %q --outlet=3 on\npower: %s said: done  [31mon", relay, relay, relay, relay)
	if j.text() != want {
		t.Errorf("log\n%s\nwant\n%s", j.text(), want)
	}
}

func TestAProgramThatFailsIsQuoted(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ text, says string }{
		"fails":    {"echo no such outlet >&2; exit 3", "exit status 3: no such outlet"},
		"silently": {"exit 1", "exit status 1"},
		"floods":   {"yes 0123456789 | head -c 10000000; exit 1", "exit status 1: 01"},
	} {
		err := program{script(t, dir, name, c.text)}.Off(t.Context())
		if !errors.Is(err, ErrPower) || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 500 {
			t.Errorf("%s: %.600v", name, err)
		}
	}
	sw, _ := Parse(dir + "/none --outlet 3")
	if err := Cycle(t.Context(), sw, 0); !errors.Is(err, ErrPower) || strings.Count(err.Error(), "is the path right") != 1 {
		t.Errorf("%v", err)
	}
}

func TestAProgramThatHangsEndsWithTheContextAndSoDoItsChildren(t *testing.T) {
	dir := t.TempDir()
	p := program{script(t, dir, "hangs", "sleep 100 & echo $! >"+dir+"/new; mv "+dir+"/new "+dir+"/child; wait")}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- p.Off(ctx) }()
	var b []byte
	for end := time.Now().Add(20 * time.Second); b == nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		b, _ = os.ReadFile(dir + "/child")
	}
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it did not end")
	}
	var child int
	fmt.Sscan(string(b), &child)
	for end := time.Now().Add(5 * time.Second); running(child); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("its child still runs")
		}
	}
}

func TestAProgramHasATime(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := (program{script(t, t.TempDir(), "hangs", "sleep 100")}).Off(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// running reports a process that is there and not merely unburied.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(b), ") Z ")
}

func TestAProgramThatLeavesAChildBehindIsNotWaitedFor(t *testing.T) {
	start := time.Now()
	p := program{script(t, t.TempDir(), "daemon", "sleep 30 &\necho started")}
	if err := p.On(t.Context()); err != nil || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

func TestAProgramThatIsNotInstalledNamesItsPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for s, says := range map[string]string{"uhubctl:1-1/2": "Debian package uhubctl", "gpio:gpiochip0/17": "Debian package gpiod"} {
		sw, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := sw.Off(t.Context()); !errors.Is(err, ErrPower) || !strings.Contains(err.Error(), says) || !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("%v", err)
		}
	}
}

func TestUhubctlIsCalledForOnePort(t *testing.T) {
	dir := t.TempDir()
	script(t, dir, "uhubctl", `echo "$@" >>`+dir+`/calls`)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	sw, _ := Parse("uhubctl:1-1.4/2")
	if err := Cycle(t.Context(), sw, 0); err != nil {
		t.Fatal(err)
	}
	calls, _ := os.ReadFile(dir + "/calls")
	if string(calls) != "-l 1-1.4 -p 2 -a off\n-l 1-1.4 -p 2 -a on\n" {
		t.Errorf("%q", calls)
	}
}

// The real programs, where there is no hub and no chip to switch.
func TestTheRealProgramsRefuseInWords(t *testing.T) {
	peer.Need(t, "uhubctl", "uhubctl")
	peer.Need(t, "gpioset", "gpiod")
	for s, says := range map[string]string{"uhubctl:99-9.9/2": "99-9.9", "gpio:no-such-chip/17": "gpioset"} {
		sw, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		err = sw.Off(t.Context())
		if !errors.Is(err, ErrPower) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v", err)
		}
		t.Log(err)
	}
}

// Both versions of gpioset as their manual pages call them; the program itself needs
// a chip.
func TestAGPIOLineIsHeldWhileItMatters(t *testing.T) {
	for version, c := range map[string]struct{ off, on string }{
		"gpioset (libgpiod) v1.6.3": {"--mode=signal gpiochip0 17=1", "--mode=signal gpiochip0 17=0"},
		"gpioset (libgpiod) v2.2.1": {"--chip gpiochip0 17=1", "--chip gpiochip0 17=0"},
	} {
		t.Run(strings.Fields(version)[2], func(t *testing.T) {
			dir := t.TempDir()
			script(t, dir, "gpioset", `[ "$1" = --version ] && { echo '`+version+`'; exit; }
echo "$@" >>`+dir+`/calls; echo $$ >`+dir+`/new; mv `+dir+`/new `+dir+`/holder; exec sleep 60`)
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			holder := func() (pid int) { // of the last call, which may just begin
				for end := time.Now().Add(20 * time.Second); pid == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
					b, _ := os.ReadFile(dir + "/holder")
					fmt.Sscan(string(b), &pid)
				}
				os.Remove(dir + "/holder")
				return pid
			}
			sw, _ := Parse("gpio:gpiochip0/17?active=low")
			if err := sw.Off(t.Context()); err != nil {
				t.Fatal(err)
			}
			first := holder()
			if !running(first) {
				t.Error("nobody holds the line at off")
			}
			if err := sw.On(t.Context()); err != nil {
				t.Fatal(err)
			}
			second := holder()
			if running(first) || !running(second) {
				t.Error("the line is not held at on by one program")
			}
			sw.(io.Closer).Close()
			if running(second) {
				t.Error("the line is held after Close")
			}
			calls, _ := os.ReadFile(dir + "/calls")
			if string(calls) != c.off+"\n"+c.on+"\n" {
				t.Errorf("%q", calls)
			}
		})
	}
}
