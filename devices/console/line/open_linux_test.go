package line

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"assay/devices"
)

// This test program can stand in for another user or another program.
func TestMain(m *testing.M) {
	switch device := os.Getenv("TEST_DEVICE"); os.Getenv("TEST_DO") {
	case "open":
		_, err := Open(context.Background(), device, 115200)
		fmt.Print(err)
		os.Exit(0)
	case "hold":
		if _, err := lockDevice(device); err != nil {
			fmt.Print(err)
			os.Exit(1)
		}
		fmt.Println("held")
		time.Sleep(time.Minute)
	}
	os.Exit(m.Run())
}

func self(t *testing.T, do, device string) *exec.Cmd {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program)
	c.Env = append(os.Environ(), "TEST_DO="+do, "TEST_DEVICE="+device)
	return c
}

func terminal(t *testing.T) (master, slave *os.File) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

func TestABusyPortSaysWhoHasIt(t *testing.T) {
	_, slave := terminal(t)
	c := self(t, "hold", slave.Name())
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { c.Process.Kill(); c.Wait() }()
	said := make([]byte, 16)
	if n, _ := out.Read(said); string(said[:n]) != "held\n" {
		t.Fatalf("the other program says %q", said[:n])
	}
	_, err = Open(t.Context(), slave.Name(), 115200)
	if want := fmt.Sprintf("line.test (process %d)", c.Process.Pid); !errors.Is(err, devices.ErrAccess) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	// A port that others opened without a lock is found as well.
	if err := inUse(slave.Name()); err == nil || !strings.Contains(err.Error(), "close it first") {
		t.Errorf("%v", err)
	}
}

func TestAPortOfAnotherGroupSaysWhichToJoin(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	_, slave := terminal(t)
	if err := errors.Join(os.Chown(slave.Name(), 0, 20), os.Chmod(slave.Name(), 0o660)); err != nil {
		t.Fatal(err)
	}
	c := self(t, "open", slave.Name())
	dir, err := os.MkdirTemp("", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "open")
	b, err := os.ReadFile(c.Path)
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(program, b, 0o755)); err != nil {
		t.Fatal(err)
	}
	c.Path, c.Dir = program, "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "access refused") || !strings.Contains(string(out), "sudo usermod -aG dialout nobody") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestAPortThatIsNotThereOrNoPort(t *testing.T) {
	for device, says := range map[string]string{
		"/dev/no-such-port": "assay ports",
		os.DevNull:          "not a serial port",
		t.TempDir():         "serial port",
	} {
		p, err := Open(t.Context(), device, 115200)
		if err == nil || p != nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", device, err)
		}
	}
}

func TestAnAdapterThatIsPulledEndsTheLineAndKeepsWhatWasRead(t *testing.T) {
	master, slave := terminal(t)
	p, err := Open(t.Context(), slave.Name(), 115200)
	if err != nil {
		t.Fatal(err)
	}
	slave.Close() // the port alone holds it now
	log := &Transcript{}
	l := New("serial:"+slave.Name(), p, log)
	defer l.Close()
	if _, err := master.WriteString("U-Boot 2023"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if b, err := l.Next(ctx, 5*time.Second); err != nil || string(b) != "U-Boot 2023" {
		t.Fatalf("%q %v", b, err)
	}
	master.Close()
	_, err = l.Next(ctx, 5*time.Second)
	if !errors.Is(err, ErrGone) || !errors.Is(err, devices.ErrUnreachable) || !strings.Contains(err.Error(), "unplugged") {
		t.Errorf("%v", err)
	}
	if err := l.Send("x"); !errors.Is(err, ErrGone) {
		t.Errorf("writing: %v", err)
	}
	if kept := string(log.Take()); !strings.Contains(kept, `"U-Boot 2023"`) {
		t.Errorf("transcript %q", kept)
	}
}

func TestAConsoleServerThatIsNotThere(t *testing.T) {
	for device, says := range map[string]string{
		fmt.Sprintf("tcp://127.0.0.1:%d", freePort(t)):     "nothing listens there",
		fmt.Sprintf("rfc2217://127.0.0.1:%d", freePort(t)): "nothing listens there",
		"tcp://no-such-host.invalid:3001":                  "no-such-host.invalid",
	} {
		if p, err := Open(t.Context(), device, 115200); !errors.Is(err, devices.ErrUnreachable) || p != nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", device, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, "tcp://192.0.2.1:3001", 0); err == nil {
		t.Error("a dial that was called off goes on")
	}
}
