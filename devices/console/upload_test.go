package console

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/devices/console/uboot"
	simulator "assay/devices/simulator/console"
)

func TestALoaderThatUploadsSendsItsFlashOverTheNetwork(t *testing.T) {
	for name, c := range map[string]struct {
		upload simulator.Uploads
		uses   bool
	}{
		"tftpput":                  {simulator.Uploads{Command: "tftpput"}, true},
		"a HiSilicon loader's way": {simulator.Uploads{Command: "tftp"}, true},
		"no such command":          {simulator.Uploads{}, false},
		"a network that spoils":    {simulator.Uploads{Command: "tftpput", Spoil: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			free, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			port := free.LocalAddr().(*net.UDPAddr).Port
			free.Close()
			cfg := load(t, "relabelled")
			cfg.SPI.Content = firmware()
			cfg.Upload = c.upload
			cfg.Upload.Port = port
			unit := start(t, cfg)
			o := quick()
			local := netip.MustParseAddr("127.0.0.1")
			o.Upload = &uboot.Upload{Unit: local, Host: local, Listen: func() (net.PacketConn, error) {
				return net.ListenUDP("udp4", &net.UDPAddr{IP: local.AsSlice(), Port: port})
			}}
			ch := open(t, unit.Device, o)
			if err := ch.Identify(within(t, 20*time.Second), &kept{}); err != nil {
				t.Fatalf("%v\n%s", err, ch.log.Take())
			}
			readsBack(t, ch, cfg.SPI.Content)
			log := unit.Log()
			uploaded := slices.ContainsFunc(log, func(l string) bool { return strings.HasPrefix(l, "tftp") && bytes.Count([]byte(l), []byte(" ")) == 3 })
			read := slices.ContainsFunc(log, func(l string) bool { return strings.HasPrefix(l, "md") && l != "md.l 12020ee0 4" })
			if uploaded != c.uses || read == (c.uses && !c.upload.Spoil) {
				t.Errorf("uploaded %v, read over the line %v: %q", uploaded, read, log)
			}
		})
	}
}
