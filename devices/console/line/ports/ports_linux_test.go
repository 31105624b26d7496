package ports

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// tree is a fake machine of a test.
type tree struct {
	t    *testing.T
	root string
}

func (f tree) file(path, content string) {
	f.t.Helper()
	path = filepath.Join(f.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// link makes a relative link, as sysfs and udev do.
func (f tree) link(path, to string) {
	f.t.Helper()
	path, to = filepath.Join(f.root, path), filepath.Join(f.root, to)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	relative, err := filepath.Rel(filepath.Dir(path), to)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.Symlink(relative, path); err != nil {
		f.t.Fatal(err)
	}
}

// tty makes a port whose device is at device.
func (f tree) tty(name, device, driver string) {
	f.file(device+"/tty/"+name+"/dev", "188:0\n")
	f.link(device+"/tty/"+name+"/device", device)
	f.link("sys/class/tty/"+name, device+"/tty/"+name)
	if driver != "" {
		f.link(device+"/driver", "sys/bus/"+driver)
	}
	f.file("dev/"+name, "")
}

func (f tree) usb(device, vendor, product, serial string, more ...string) {
	f.file(device+"/idVendor", vendor+"\n")
	f.file(device+"/idProduct", product+"\n")
	if serial != "" {
		f.file(device+"/serial", serial+"\n")
	}
	for i := 0; i+1 < len(more); i += 2 {
		f.file(device+"/"+more[i], more[i+1]+"\n")
	}
}

const hub = "sys/devices/pci0000:00/0000:00:14.0/usb1/1-2"

func fakeMachine(t *testing.T) tree {
	f := tree{t, t.TempDir()}
	for _, console := range []string{"tty0", "console", "ptmx", "ttyprintk"} {
		f.file("sys/devices/virtual/tty/"+console+"/dev", "4:0\n")
		f.link("sys/class/tty/"+console, "sys/devices/virtual/tty/"+console)
	}
	// On board, behind the busses of new kernels and of old ones.
	f.tty("ttyS0", "sys/devices/pnp0/00:00/00:00:0/00:00:0.0", "serial-base/drivers/port")
	f.link("sys/devices/pnp0/00:00/driver", "sys/bus/pnp/drivers/serial")
	f.file("sys/class/tty/ttyS0/type", "4\n")
	f.file("sys/class/tty/ttyS0/port", "0x3F8\n")
	f.tty("ttyS1", "sys/devices/platform/serial8250/serial8250:0/serial8250:0.1", "serial-base/drivers/port")
	f.file("sys/class/tty/ttyS1/type", "0\n")
	for name, driver := range map[string]string{"ttyTHS1": "serial-tegra", "ttyMSM0": "msm_geni_serial", "ttymxc1": "imx-uart"} {
		f.tty(name, "sys/devices/platform/"+name+".serial", "platform/drivers/"+driver)
		f.file("sys/class/tty/"+name+"/type", "99\n")
		f.file("sys/class/tty/"+name+"/iomem_base", "0x3100000\n")
	}
	f.file("sys/devices/virtual/tty/rfcomm0/dev", "216:0\n")
	f.link("sys/class/tty/rfcomm0", "sys/devices/virtual/tty/rfcomm0")
	f.file("dev/rfcomm0", "")
	// USB: one port without a number, an adapter with two, one of the class ACM.
	f.usb(hub+"/1-2.4", "1a86", "7523", "", "product", "USB Serial")
	f.file(hub+"/1-2.4/1-2.4:1.0/bInterfaceNumber", "00\n")
	f.tty("ttyUSB10", hub+"/1-2.4/1-2.4:1.0/ttyUSB10", "usb-serial/drivers/ch341-uart")
	f.usb(hub+"/1-2.1", "10C4", "EA70", "0123", "product", "CP2105 Dual USB to UART Bridge Controller", "manufacturer", "Silicon Labs")
	for i, name := range []string{"ttyUSB1", "ttyUSB2"} {
		f.file(fmt.Sprintf("%s/1-2.1/1-2.1:1.%d/bInterfaceNumber", hub, i), fmt.Sprintf("%02d\n", i))
		f.tty(name, fmt.Sprintf("%s/1-2.1/1-2.1:1.%d/%s", hub, i, name), "usb-serial/drivers/cp210x")
	}
	f.usb(hub+"/1-2.3", "2e8a", "000c", "E66\x1b[31m", "product", "Debug\nProbe")
	f.file(hub+"/1-2.3/1-2.3:1.1/bInterfaceNumber", "01\n")
	f.tty("ttyACM0", hub+"/1-2.3/1-2.3:1.1", "usb/drivers/cdc_acm")
	f.usb(hub+"/1-2.2", "04e2", "1410", "Q1")
	f.tty("ttyXRUSB0", hub+"/1-2.2/1-2.2:1.0", "usb/drivers/cdc_xr_usb_serial")
	for _, name := range []string{"usb-1a86_USB_Serial-if00-port0", "elsewhere"} {
		to := "dev/ttyUSB10"
		if name == "elsewhere" {
			to = "dev/ttyUSB77"
		}
		f.link("dev/serial/by-id/"+name, to)
	}
	f.link("dev/serial/by-path/pci-0000:00:14.0-usb-0:2.4:1.0-port0", "dev/ttyUSB10")
	return f
}

func TestPortsAreListedFromSysfsWithoutOpeningAny(t *testing.T) {
	f := fakeMachine(t)
	// A port that is opened hangs this test: a pipe without a writer.
	if err := os.Remove(filepath.Join(f.root, "dev/ttyUSB2")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfifo", "-m", "666", filepath.Join(f.root, "dev/ttyUSB2")).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	got, err := machine{f.root}.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i].HoldersUnsure = false
		if got[i].Adapter != nil {
			got[i].Adapter = &Adapter{Chip: got[i].Adapter.Chip} // the data has tests of its own
		}
	}
	cp2105 := func(n string) *USB {
		return &USB{ID: "10c4:ea70", Manufacturer: "Silicon Labs", Product: "CP2105 Dual USB to UART Bridge Controller", Serial: "0123", Interface: n, Path: "1-2.1"}
	}
	want := []Port{
		{Name: "/dev/rfcomm0", What: "Bluetooth"},
		{Name: "/dev/ttyACM0", Driver: "cdc_acm", Adapter: &Adapter{Chip: "Raspberry Pi Debug Probe"}, USB: &USB{ID: "2e8a:000c", Product: "Debug Probe", Serial: "E66 [31m", Interface: "01", Path: "1-2.3"}},
		{Name: "/dev/ttyMSM0", Driver: "msm_geni_serial", What: "UART at 0x3100000"},
		{Name: "/dev/ttyS0", Driver: "serial", What: "UART 16550A at 0x3f8"},
		{Name: "/dev/ttyTHS1", Driver: "serial-tegra", What: "UART at 0x3100000"},
		{Name: "/dev/ttyUSB1", Driver: "cp210x", Adapter: &Adapter{Chip: "CP2105, two ports"}, USB: cp2105("00")},
		{Name: "/dev/ttyUSB2", Driver: "cp210x", Adapter: &Adapter{Chip: "CP2105, two ports"}, USB: cp2105("01")},
		{Name: "/dev/ttyUSB10", Driver: "ch341-uart", Adapter: &Adapter{Chip: "CH340"}, USB: &USB{ID: "1a86:7523", Product: "USB Serial", Interface: "00", Path: "1-2.4"},
			Aliases: []string{"/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0", "/dev/serial/by-path/pci-0000:00:14.0-usb-0:2.4:1.0-port0"}},
		{Name: "/dev/ttyXRUSB0", Driver: "cdc_xr_usb_serial", Adapter: &Adapter{Chip: "XR21V1410"}, USB: &USB{ID: "04e2:1410", Serial: "Q1", Path: "1-2.2"}},
		{Name: "/dev/ttymxc1", Driver: "imx-uart", What: "UART at 0x3100000"},
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("port %d: got %s\nwant %s", i, written(got, i), written(want, i))
		}
	}
}

func written(all []Port, i int) string {
	if i >= len(all) {
		return "none"
	}
	b, _ := json.Marshal(all[i])
	return string(b)
}

func TestAPortWithoutADeviceNodeSaysSo(t *testing.T) {
	f := fakeMachine(t)
	os.Remove(filepath.Join(f.root, "dev/ttyACM0"))
	all, err := machine{f.root}.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if (p.Name == "/dev/ttyACM0") != strings.Contains(p.Denied, "container") {
			t.Errorf("%s: %q", p.Name, p.Denied)
		}
	}
}

func TestAMachineWithoutSysfsIsAnError(t *testing.T) {
	if _, err := (machine{t.TempDir()}).list(t.Context()); err == nil || !strings.Contains(err.Error(), "sysfs") {
		t.Errorf("%v", err)
	}
}

func TestALoopOfLinksInSysfsEnds(t *testing.T) {
	f := tree{t, t.TempDir()}
	f.link("sys/class/tty/ttyUSB0", "sys/class/tty/ttyUSB1")
	f.link("sys/class/tty/ttyUSB1", "sys/class/tty/ttyUSB0")
	if all, err := (machine{f.root}).list(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%v %v", all, err)
	}
}

// openPty returns a terminal that stays open in this process.
func openPty(t *testing.T) *os.File {
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	return slave
}

func TestWhoHasAPortOpenIsNamed(t *testing.T) {
	slave := openPty(t)
	if h, _ := Holders(t.Context(), slave.Name()); len(h) != 0 {
		t.Errorf("held by %+v before", h)
	}
	c := exec.Command("sleep", "60")
	c.ExtraFiles = []*os.File{slave}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { c.Process.Kill(); c.Wait() }()
	want := []Holder{{PID: c.Process.Pid, Program: "sleep", By: "open"}}
	if h, _ := Holders(t.Context(), slave.Name()); !reflect.DeepEqual(h, want) {
		t.Errorf("held by %+v, want %+v", h, want)
	}
	// By another name it is the same device.
	alias := filepath.Join(t.TempDir(), "usb-adapter")
	if err := os.Symlink(slave.Name(), alias); err != nil {
		t.Fatal(err)
	}
	if h, _ := Holders(t.Context(), alias); !reflect.DeepEqual(h, want) {
		t.Errorf("by its alias held by %+v", h)
	}
}

func TestADeviceThatIsNoPortIsNotSearchedFor(t *testing.T) {
	if h, _ := Holders(t.Context(), os.DevNull); len(h) != 0 {
		t.Errorf("%v", h)
	}
	if n, ok := stat("/dev/ttyS0"); ok && !here.terminal(n) {
		t.Error("ttyS0 is no terminal")
	}
}

func TestLocksNameWhoCannotBeLookedAt(t *testing.T) {
	slave := openPty(t)
	f := fakeMachine(t)
	os.Remove(filepath.Join(f.root, "dev/ttyACM0"))
	if err := os.Symlink(slave.Name(), filepath.Join(f.root, "dev/ttyACM0")); err != nil {
		t.Fatal(err)
	}
	n, ok := stat(slave.Name())
	if !ok {
		t.Fatal("no node")
	}
	id := fmt.Sprintf("%02x:%02x:%d", deviceMajor(n.dev), deviceMinor(n.dev), n.inode)
	f.file("proc/locks", "1: FLOCK  ADVISORY  WRITE 4711 "+id+" 0 EOF\n"+
		"1: -> FLOCK  ADVISORY  WRITE 4712 "+id+" 0 EOF\n"+
		"2: POSIX  ADVISORY  WRITE 4713 "+id+"7 0 EOF\nnonsense\n3: FLOCK ADVISORY WRITE x y z\n")
	f.file("proc/4711/comm", "assay\n")
	f.file("proc/815/comm", "min\x1bicom\n")
	f.file("run/lock/LCK..ttyUSB1", "       815\n")
	f.file("run/lock/LCK..ttyUSB2", "       816\n") // gone
	f.file("var/lock/LCK..ttyUSB10", "\x2f\x03\x00\x00")
	f.file("var/lock/LCK..ttyS0", strings.Repeat("9", 5000))
	all, err := machine{f.root}.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]Holder{}
	for _, p := range all {
		if p.Holders != nil {
			got[p.Name] = p.Holders
		}
	}
	want := map[string][]Holder{
		"/dev/ttyACM0":  {{PID: 4711, Program: "assay", By: "lock"}},
		"/dev/ttyUSB1":  {{PID: 815, Program: "min icom", By: "/run/lock/LCK..ttyUSB1"}},
		"/dev/ttyUSB10": {{PID: 815, Program: "min icom", By: "/var/lock/LCK..ttyUSB10"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("held %+v, want %+v", got, want)
	}
}

func TestACalledOffListEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := fakeMachine(t)
	f.file("proc/1/comm", "init\n")
	if _, err := (machine{f.root}).list(ctx); err == nil {
		t.Error("it went on")
	}
}

func TestWhatToDoAboutAPortThatMayNotBeOpened(t *testing.T) {
	in := func(yes bool) func(string, uint32) bool { return func(string, uint32) bool { return yes } }
	for name, c := range map[string]struct {
		mode   fs.FileMode
		gid    uint32
		login  string
		member bool
		want   string
	}{
		"the usual":            {0o660, 20, "alice", false, "`sudo usermod -aG dialout alice`"},
		"joined a moment ago":  {0o660, 20, "alice", true, "log out and in again"},
		"a user without name":  {0o660, 20, "", false, "`sudo usermod -aG dialout USER`"},
		"for its owner alone":  {0o600, 20, "alice", false, "run this as root"},
		"read only for group":  {0o640, 20, "alice", false, "run this as root"},
		"of the group of root": {0o660, 0, "alice", false, "udev rule"},
	} {
		if got := advice("/dev/ttyUSB0", c.mode, c.gid, c.login, "dialout", in(c.member)); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestThisMachinesPortsAreListed(t *testing.T) {
	all, err := List(t.Context())
	if err != nil {
		t.Skip(err)
	}
	for _, p := range all {
		t.Logf("%+v", p)
	}
}

func FuzzLocks(f *testing.F) {
	f.Add("1: FLOCK  ADVISORY  WRITE 4711 00:05:123 0 EOF")
	f.Add("1: -> POSIX ADVISORY READ 1 fd:00:1 0 9")
	f.Add("       815\n")
	f.Add("\x2f\x03\x00\x00")
	f.Fuzz(func(t *testing.T, s string) {
		if l, ok := parseLock(s); ok && l.pid <= 0 {
			t.Fatalf("%q is a lock of %d", s, l.pid)
		}
		if pid := parseLockFile([]byte(s)); pid < 0 {
			t.Fatalf("%q names %d", s, pid)
		}
	})
}
