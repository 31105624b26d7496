package ports

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// machine is where a Linux system shows its ports: the root of its files, which
// is "/" but in tests.
type machine struct{ root string }

var here = machine{"/"}

// List returns the ports in the order of their names.
func List(ctx context.Context) ([]Port, error) { return here.list(ctx) }

// withoutDevice are the kinds of ports behind which sysfs shows no device.
var withoutDevice = regexp.MustCompile(`^(rfcomm|ttyGS)[0-9]+$`)

func (m machine) list(ctx context.Context) ([]Port, error) {
	class := m.path("sys/class/tty")
	entries, err := os.ReadDir(class)
	if err != nil {
		return nil, fmt.Errorf("serial ports: %w: is sysfs mounted?", err)
	}
	var all []Port
	for _, e := range entries {
		if p := m.port(e.Name()); p != nil {
			all = append(all, *p)
		}
	}
	slices.SortFunc(all, func(a, b Port) int { return compareNames(a.Name, b.Name) })
	if err := m.addHolders(ctx, all); err != nil {
		return nil, err
	}
	m.addAliases(all)
	return all, nil
}

func (m machine) path(p string) string { return filepath.Join(m.root, p) }

// port reads one entry of the class tty, and returns nil for what is no serial
// port: consoles, pseudo-terminals, and the ttyS of UARTs that are not there.
func (m machine) port(name string) *Port {
	dir, err := filepath.EvalSymlinks(m.path("sys/class/tty/" + name))
	if err != nil {
		return nil
	}
	device, err := filepath.EvalSymlinks(filepath.Join(dir, "device"))
	if err != nil && !withoutDevice.MatchString(name) {
		return nil
	}
	kind := attribute(dir, "type") // of a UART; 0 is PORT_UNKNOWN: none was found
	if kind == "0" {
		return nil
	}
	p := &Port{Name: "/dev/" + name}
	switch {
	case strings.HasPrefix(name, "rfcomm"):
		p.What = "Bluetooth"
	case strings.HasPrefix(name, "ttyGS"):
		p.What = "this machine as a USB gadget"
	case kind != "":
		p.What = uart(kind, attribute(dir, "port"), attribute(dir, "iomem_base"))
	}
	if device != "" {
		p.Driver = m.driver(device)
		p.USB = m.usb(device)
	}
	p.identify()
	p.Denied = denied(m.path("dev/"+name), p.Name)
	return p
}

// uartTypes are the usual ones of include/uapi/linux/serial_core.h.
var uartTypes = map[string]string{"1": "8250", "2": "16450", "3": "16550", "4": "16550A", "6": "16650", "8": "16750", "10": "16C950", "12": "16850", "14": "16550A"}

func uart(kind, port, memory string) string {
	s := "UART"
	if t := uartTypes[kind]; t != "" {
		s += " " + t
	}
	if port != "" && strings.Trim(port, "0x") != "" {
		return s + " at " + strings.ToLower(port)
	}
	if memory != "" && strings.Trim(memory, "0x") != "" {
		return s + " at " + strings.ToLower(memory)
	}
	return s
}

// attribute is a file of sysfs, which is short.
func attribute(dir, name string) string {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 4096))
	return printable(string(b))
}

const maxDepth = 12 // of a device in the tree of its busses

// driver is the name of the driver of a device, or of what it hangs on: newer
// kernels put the generic drivers "port" and "ctrl" between (serial-base).
func (m machine) driver(device string) string {
	for range maxDepth {
		if to, err := os.Readlink(filepath.Join(device, "driver")); err == nil && filepath.Base(filepath.Dir(filepath.Dir(to))) != "serial-base" {
			return printable(filepath.Base(to))
		}
		if device = filepath.Dir(device); !strings.HasPrefix(device, m.path("sys/devices")+"/") {
			break
		}
	}
	return ""
}

// usb finds the USB device that a port hangs on.
func (m machine) usb(device string) *USB {
	u := &USB{}
	for range maxDepth {
		if n := attribute(device, "bInterfaceNumber"); n != "" {
			u.Interface = n
		}
		if vendor, product := attribute(device, "idVendor"), attribute(device, "idProduct"); vendor != "" && product != "" {
			u.ID = strings.ToLower(vendor + ":" + product)
			u.Manufacturer, u.Product, u.Serial = attribute(device, "manufacturer"), attribute(device, "product"), attribute(device, "serial")
			u.Path = filepath.Base(device)
			return u
		}
		if device = filepath.Dir(device); !strings.HasPrefix(device, m.path("sys/devices")+"/") {
			break
		}
	}
	return nil
}

// addAliases gives the ports the names that udev made for them.
func (m machine) addAliases(all []Port) {
	for _, dir := range []string{"/dev/serial/by-id", "/dev/serial/by-path"} {
		entries, err := os.ReadDir(m.path(dir))
		if err != nil {
			continue
		}
		for _, e := range entries {
			to, err := os.Readlink(m.path(dir + "/" + e.Name()))
			if err != nil {
				continue
			}
			for i := range all {
				if filepath.Base(to) == filepath.Base(all[i].Name) {
					all[i].Aliases = append(all[i].Aliases, dir+"/"+e.Name())
				}
			}
		}
	}
}

// compareNames puts ttyUSB2 before ttyUSB10.
func compareNames(a, b string) int {
	cut := func(s string) (string, int) {
		head := strings.TrimRight(s, "0123456789")
		n, _ := strconv.Atoi(s[len(head):])
		return head, n
	}
	headA, a1 := cut(a)
	headB, b1 := cut(b)
	if headA != headB {
		return strings.Compare(headA, headB)
	}
	return a1 - b1
}
