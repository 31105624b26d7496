//go:build linux

package main

import (
	"context"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"assay/devices/console/line/ports"
	"assay/devices/simulator/console"
)

// person runs the program on a terminal of its own, and types and reads there.
type person struct {
	t      *testing.T
	tty    *os.File
	mu     sync.Mutex
	screen strings.Builder
	ended  chan error
}

func (b *bench) person(args ...string) *person {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	b.t.Cleanup(cancel)
	c := b.command(ctx, args...)
	c.Env = append(c.Env, "TERM=xterm", "LC_ALL=C.UTF-8")
	tty, slave, err := pty.Open()
	if err != nil {
		b.t.Fatal(err)
	}
	// Numbers of terminals are used again: other tests must not take this one for
	// a unit that they lost.
	if err := unix.Flock(int(slave.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { slave.Close() })
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		b.t.Fatal(err)
	}
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	p := &person{t: b.t.(*testing.T), tty: tty, ended: make(chan error, 1)}
	b.t.Cleanup(func() { tty.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			p.mu.Lock()
			p.screen.Write(buf[:n])
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	go func() { p.ended <- c.Wait() }()
	return p
}

func (p *person) shown() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen.String()
}

// sees waits until the text is on the screen.
func (p *person) sees(text string) {
	p.t.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(p.shown(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%q is not shown:\n%q", text, p.shown())
		}
	}
}

func (p *person) types(keys string) {
	p.t.Helper()
	if _, err := p.tty.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

// raw reports whether keys go to the program one by one and without an echo.
func (p *person) raw() bool {
	t, err := unix.IoctlGetTermios(int(p.tty.Fd()), unix.TCGETS)
	if err != nil {
		p.t.Fatal(err)
	}
	return t.Lflag&(unix.ECHO|unix.ICANON|unix.ISIG) == 0
}

func TestAPersonAtAConsole(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("flash.bin", b.demo("vendor-signed"))
	unit := simulatedConsole(t, "vendor-signed", b.path("flash.bin"), func(c *console.Config) {
		c.Baud = 57600
		c.Start = console.StatePrompt
		c.Answers["attack"] = "\x1b[6n\x1b]0;owned\x07\x1b[?1000h\x1b[31mred\x1b[0m"
	})
	p := b.person("console", serial(unit.Device), "--log", "unit.log")
	p.sees("may change it")
	p.types("\r")
	p.sees("?") // noise: the rate is wrong
	if !p.raw() {
		t.Error("the terminal is not raw")
	}
	p.types("\x1d?")
	p.sees("next rate; now 115200 baud")
	p.types("\x1db")
	p.sees("57600 baud")
	p.types("version\r")
	p.sees("U-Boot 2021.07")
	p.types("attack\r")
	p.sees("\x1b[31mred\x1b[0m")
	p.types("\x03") // goes to the unit, and does not end the program
	p.sees("<INTERRUPT>")
	p.types("\x1dq")
	p.sees("the transcript is in unit.log")
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
	if p.raw() {
		t.Error("the terminal was left raw")
	}
	for _, bad := range []string{"\x1b[6n", "\x1b]", "\x07", "\x1b[?"} {
		if strings.Contains(p.shown(), bad) {
			t.Errorf("%q came through", bad)
		}
	}
	log := string(b.read("unit.log"))
	for _, want := range []string{`> "version\r"`, `> "\x03"`, "# 57600 baud", `\x1b[6n`} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in the transcript\n%s", want, log)
		}
	}
}

func TestAPersonWhoseAdapterIsPulledGetsTheTerminalBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("flash.bin", b.demo("vendor-signed"))
	unit := simulatedConsole(t, "vendor-signed", b.path("flash.bin"), func(c *console.Config) { c.Start = console.StatePrompt })
	p := b.person("console", serial(unit.Device), "--log", "unit.log")
	p.sees("may change it")
	p.types("version\r")
	p.sees("U-Boot 2021.07")
	unit.Close()
	p.sees("unplugged?")
	if err := <-p.ended; err == nil || !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("%v", err)
	}
	if p.raw() {
		t.Error("the terminal was left raw")
	}
	if log := string(b.read("unit.log")); !strings.Contains(log, "U-Boot 2021.07") {
		t.Errorf("transcript\n%s", log)
	}
}

func TestTheTableOfPortsFits80Columns(t *testing.T) {
	var out strings.Builder
	printPorts(&out, []ports.Port{
		{Name: "/dev/ttyS0", What: "UART 16550A at 0x3f8", Driver: "serial"},
		{Name: "/dev/ttyUSB0", Driver: "ch341-uart", USB: &ports.USB{ID: "1a86:7523", Product: "USB Serial", Path: "1-2.4", Interface: "00"},
			Adapter: &ports.Adapter{Chip: "CH340", Maker: "QinHeng (WCH)", Traps: []string{"It has no serial number, so two of them can only be told apart by the socket they are in. Name it by /dev/serial/by-path."}},
			Aliases: []string{"/dev/serial/by-path/pci-0000:00:14.0-usb-0:2.4:1.0-port0"}},
		{Name: "/dev/ttyUSB1", Driver: "cp210x", USB: &ports.USB{ID: "10c4:ea70", Manufacturer: "Silicon Labs", Product: "CP2105 Dual USB to UART Bridge Controller", Serial: "0123456789ABCDEF", Interface: "01", Path: "1-2.1"},
			Holders: []ports.Holder{{PID: 4711, Program: "picocom", By: "open"}, {PID: 4712, By: "/run/lock/LCK..ttyUSB1"}}},
		{Name: "/dev/ttyACM0", Driver: "cdc_acm", USB: &ports.USB{ID: "ffff:0001", Product: "Something New"}, HoldersUnsure: true,
			Denied: "/dev/ttyACM0 belongs to the group dialout: run `sudo usermod -aG dialout alice`, then log out and in again"},
		{Name: "/dev/ttyACM1", HoldersUnsure: true},
	})
	const want = `PORT          STATE   SERIAL            WHAT HANGS ON IT
/dev/ttyS0    free    -                 UART 16550A at 0x3f8, driver serial
/dev/ttyUSB0  free    none              CH340 by QinHeng (WCH), USB 1a86:7523,
                                        socket 1-2.4, driver ch341-uart
              = /dev/serial/by-path/pci-0000:00:14.0-usb-0:2.4:1.0-port0
              ! It has no serial number, so two of them can only be told apart
                by the socket they are in. Name it by /dev/serial/by-path.
/dev/ttyUSB1  in use  0123456789ABCDEF  Silicon Labs CP2105 Dual USB to UART
                                        Bridge Controller, USB 10c4:ea70,
                                        interface 1, socket 1-2.1, driver cp210x
              ! picocom process 4711 has it open
              ! process 4712 by its lock file /run/lock/LCK..ttyUSB1
/dev/ttyACM0  denied  none              Something New, USB ffff:0001, driver
                                        cdc_acm
              ! /dev/ttyACM0 belongs to the group dialout: run ` + "`sudo usermod -aG" + `
                dialout alice` + "`" + `, then log out and in again
/dev/ttyACM1  free?   -

free? means: no holder seen, but this user may not look at every process.
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var none strings.Builder
	printPorts(&none, nil)
	if !strings.Contains(none.String(), "no serial port") {
		t.Errorf("%q", none.String())
	}
}
