// Package ser2net starts the console server of that name for tests.
package ser2net

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"assay/internal/peer"
)

// Start serves a device, as a raw port and with RFC 2217, until the test ends. Either
// address is for one client at a time.
func Start(t testing.TB, device string) (tcp, rfc2217 string) {
	t.Helper()
	program := peer.Need(t, "ser2net", "ser2net")
	raw, telnet := freeAddress(t), freeAddress(t)
	config := filepath.Join(t.TempDir(), "ser2net.yaml")
	text := fmt.Sprintf(`%%YAML 1.1
---
connection: &raw
  accepter: tcp,%s
  connector: serialdev,%[3]s,115200n81,local
connection: &telnet
  accepter: telnet(rfc2217),tcp,%[2]s
  connector: serialdev,%[3]s,115200n81,local
`, asOption(raw), asOption(telnet), device)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c := exec.Command(program, "-n", "-u", "-c", config)
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if t.Failed() {
			t.Logf("ser2net: %s", log.String())
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", telnet)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("ser2net does not listen: %v\n%s", err, log.String())
		}
	}
	time.Sleep(200 * time.Millisecond) // it gives the device back after the visit above
	return "tcp://" + raw, "rfc2217://" + telnet
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// asOption is an address as the configuration writes it.
func asOption(address string) string {
	host, port, _ := net.SplitHostPort(address)
	return host + "," + port
}
