package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"assay/attest/station"
	"assay/devices"
	"assay/devices/console/uboot"
	"assay/devices/power"
)

// app is what the commands share.
type app struct {
	out, errOut io.Writer
	json        bool
	verbose     bool
	printed     bool // the one JSON document of this run
}

// cliSchema is the schema of a command's JSON output.
func cliSchema(command string) string { return "https://assay.example/cli/" + command + "/v1" }

// print writes the same data as JSON or as text.
func (a *app) print(v any, text func(w io.Writer)) error {
	if !a.json {
		text(a.out)
		return nil
	}
	a.printed = true
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (a *app) printError(err error, code int) {
	message := strings.TrimPrefix(err.Error(), errUsage.Error()+": ")
	if a.json && !a.printed {
		_ = a.print(struct {
			Schema string `json:"schema"`
			Error  string `json:"error"`
			Exit   int    `json:"exit"`
		}{cliSchema("error"), message, code}, nil)
		return
	}
	for i, line := range strings.Split(message, "\n") {
		if i == 0 {
			line = "assay: " + line
		} else {
			line = "       " + line
		}
		fmt.Fprintln(a.errOut, line)
	}
}

func (a *app) home() (station.Home, error) { return station.DefaultHome() }

// secretFlags read a secret from a file, the environment or the terminal, and
// never from an argument, which every process of the machine can read.
type secretFlags struct {
	file     string
	variable string
	prompt   string
	confirm  bool // ask twice: a new secret that was mistyped is lost
}

func (s *secretFlags) read() ([]byte, error) {
	if s.file != "" {
		b, err := os.ReadFile(s.file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.prompt, err)
		}
		return []byte(strings.TrimRight(string(b), "\r\n")), nil
	}
	if v, ok := os.LookupEnv(s.variable); ok {
		return []byte(v), nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil, usagef("%s: no terminal to ask on; give it in a file or in $%s", s.prompt, s.variable)
	}
	secret, err := ask(s.prompt)
	if err != nil || !s.confirm {
		return secret, err
	}
	again, err := ask(s.prompt + ", again")
	if err == nil && !bytes.Equal(secret, again) {
		err = usagef("%s: the two differ; nothing was made", s.prompt)
	}
	return secret, err
}

func ask(prompt string) ([]byte, error) {
	fmt.Fprintf(os.Stderr, "%s: ", prompt)
	b, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	return b, err
}

// unitFlags say how to reach and read a unit.
type unitFlags struct {
	user       string
	password   secretFlags
	allowBasic bool
	labels     map[string]string
	country    string
	skipFlash  bool
	again      bool
	onvifUser  string
	onvif      secretFlags
	sockets    socketFlags
	serial     station.Serial
	upload     string
	power      string
	powerOff   time.Duration
	supply     power.Switch
}

func (f *unitFlags) add(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.user, "user", "", "log in to the unit as this user; the password is asked for once")
	fl.StringVar(&f.password.file, "password-file", "", "read the password from this file (else $ASSAY_PASSWORD, else ask)")
	fl.BoolVar(&f.allowBasic, "allow-basic", false, "send the password unencrypted where the unit offers nothing better")
	fl.StringToStringVar(&f.labels, "label", nil, "what is printed on the unit: maker=…,model=…,serial=…,mac=…")
	fl.StringVar(&f.country, "country", "", "where the unit is to stand, as two letters such as GB: some serial numbers say for which market a unit was made")
	fl.BoolVar(&f.serial.ListenOnly, "listen", false, "serial: send nothing, hear one boot, and say what it says")
	fl.BoolVar(&f.skipFlash, "no-flash", false, "do not read the flash")
	f.password.variable = "ASSAY_PASSWORD"
	fl.StringVar(&f.onvifUser, "onvif-user", "", "log in to ONVIF as this user, where its users are kept apart (default: the user of --user)")
	fl.StringVar(&f.onvif.file, "onvif-password-file", "", "read the password of --onvif-user from this file (else $ASSAY_ONVIF_PASSWORD, else ask)")
	f.onvif.variable = "ASSAY_ONVIF_PASSWORD"
	fl.BoolVar(&f.again, "again", false, "offer the login though an earlier run did in vain: units lock after 3 to 5 wrong ones")
	f.sockets.add(c)
	f.addPower(c)
}

func (f *unitFlags) addPower(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.power, "power", "", "switch the unit's power to catch its boot: a program that is called with off and on, uhubctl:HUB/PORT or gpio:CHIP/LINE")
	fl.BoolVar(&f.serial.LoaderOnly, "loader", false, "serial: read the boot loader or nothing, and not the system that it starts")
	fl.IntVar(&f.serial.SwitchRate, "switch-rate", 0, "serial: let the boot loader go on at this baud rate for the session; changes a variable in its RAM")
	fl.StringVar(&f.upload, "upload", "", "serial: UNIT,HOST: let the unit send its flash to the second IPv4 address, ours, by TFTP; its boot loader takes the first, which changes two variables in its RAM")
	fl.DurationVar(&f.powerOff, "power-off", 5*time.Second, "how long --power leaves the unit without power")
}

// cycle is how to switch the unit's power off and on, nil where a person must.
func (f *unitFlags) cycle(targets []devices.Target) (func(context.Context) error, error) {
	if f.power == "" {
		return nil, nil
	}
	if !slices.ContainsFunc(targets, func(t devices.Target) bool { return t.Kind == devices.KindSerial }) {
		return nil, usagef("--power is for catching a boot on a serial console: give a serial target, as in serial:/dev/ttyUSB0")
	}
	if f.powerOff < 0 || f.powerOff > 10*time.Minute {
		return nil, usagef("--power-off %s: not from 0s to 10m", f.powerOff)
	}
	var err error
	if f.supply, err = power.Parse(f.power); err != nil {
		return nil, usagef("--power: %v", err)
	}
	return func(ctx context.Context) error { return power.Cycle(ctx, f.supply, f.powerOff) }, nil
}

// release gives back what switches the power.
func (f *unitFlags) release() {
	if c, ok := f.supply.(io.Closer); ok {
		_ = c.Close()
	}
}

// tftpPort is where boot loaders send to (RFC 1350).
const tftpPort = 69

// uploadOver reads the value of --upload.
func uploadOver(addresses string) (*uboot.Upload, error) {
	if addresses == "" {
		return nil, nil
	}
	unit, host, _ := strings.Cut(addresses, ",")
	u := &uboot.Upload{}
	var err1, err2 error
	u.Unit, err1 = netip.ParseAddr(unit)
	u.Host, err2 = netip.ParseAddr(host)
	if err1 != nil || err2 != nil || !u.Unit.Is4() || !u.Host.Is4() {
		return nil, usagef("--upload %s: want two IPv4 addresses, the unit's and ours, as in 192.0.2.10,192.0.2.1", addresses)
	}
	u.Listen = func() (net.PacketConn, error) {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: u.Host.AsSlice(), Port: tftpPort})
		if err != nil {
			return nil, fmt.Errorf("UDP port %d of %s cannot be opened: %w; on Linux it takes root or `setcap cap_net_bind_service+ep` on the program", tftpPort, u.Host, err)
		}
		return conn, nil
	}
	return u, nil
}

// addSerial adds the flags of a command that reads serial consoles only.
func (f *unitFlags) addSerial(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.user, "user", "", "log in to the console as this user, or any name where it asks for a password only")
	fl.StringVar(&f.password.file, "password-file", "", "read the password from this file (else $ASSAY_PASSWORD, else ask)")
	f.password.variable = "ASSAY_PASSWORD"
	f.addPower(c)
}

func (f *unitFlags) account() (*devices.Account, error) {
	if f.user == "" {
		if f.password.file != "" {
			return nil, usagef("--password-file needs --user")
		}
		return nil, nil
	}
	f.password.prompt = "password of " + f.user
	pw, err := f.password.read()
	if err != nil {
		return nil, err
	}
	return devices.NewAccount(f.user, string(pw)), nil
}

var twoLetters = regexp.MustCompile(`^[A-Za-z]{2}$`)

func (f *unitFlags) request(args []string) (station.Request, error) {
	r := station.Request{Serial: f.serial, AllowBasic: f.allowBasic, Labels: f.labels, Country: f.country, SkipFlash: f.skipFlash, Tool: "assay " + version}
	for _, s := range args {
		t, err := devices.ParseTarget(s)
		if err != nil {
			return r, usagef("%v", err)
		}
		r.Targets = append(r.Targets, t)
	}
	for k := range f.labels {
		if k != "maker" && k != "model" && k != "serial" && k != "mac" {
			return r, usagef("--label %s: a label is maker, model, serial or mac", k)
		}
	}
	if f.country != "" && !twoLetters.MatchString(f.country) {
		return r, usagef("--country %s: not a country code of two letters such as GB", f.country)
	}
	if mac := f.labels["mac"]; mac != "" {
		if _, err := net.ParseMAC(mac); err != nil {
			return r, usagef("--label mac=%s: not a MAC address such as 00:00:5E:00:53:01", mac)
		}
	}
	if b := f.serial.SwitchRate; b != 0 && (b < 300 || b > 12_000_000) {
		return r, usagef("--switch-rate %d: not from 300 to 12000000", b)
	}
	var err error
	if r.Serial.Upload, err = uploadOver(f.upload); err != nil {
		return r, err
	}
	if r.Serial.Power, err = f.cycle(r.Targets); err != nil {
		return r, err
	}
	r.Again = f.again
	if r.Account, err = f.account(); err != nil {
		return r, err
	}
	if r.ONVIFAccount, err = f.onvifAccount(); err != nil {
		return r, err
	}
	if r.Ports, err = f.sockets.at(r.Targets); err != nil {
		return r, err
	}
	r.SNMP, err = f.sockets.ask()
	return r, err
}

func (f *unitFlags) onvifAccount() (*devices.Account, error) {
	if f.onvifUser == "" {
		if f.onvif.file != "" {
			return nil, usagef("--onvif-password-file needs --onvif-user")
		}
		return nil, nil
	}
	f.onvif.prompt = "ONVIF password of " + f.onvifUser
	pw, err := f.onvif.read()
	if err != nil {
		return nil, err
	}
	return devices.NewAccount(f.onvifUser, string(pw)), nil
}
