package discovery

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestEveryUnitLoads(t *testing.T) {
	for _, name := range List() {
		u, err := Load(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if u.Name != name || u.Description == "" {
			t.Errorf("%s is called %q: %q", name, u.Name, u.Description)
		}
	}
	if _, err := Load("no-such-unit"); err == nil || !strings.Contains(err.Error(), "hikvision") {
		t.Errorf("an unknown unit: %v", err)
	}
}

func TestUnitAnswersItsQuestionAndNoOther(t *testing.T) {
	u, err := Load("sony")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Start(t.Context(), "", &Placed{Unit: u, N: 7, Addr: netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Skip("the port is in use: ", err)
	}
	defer f.Close()
	c, err := net.Dial("udp4", "127.0.0.1:2380")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, question := range []string{"\x02SETMAC:x\xff\x03", "\x02ENQ:allinfo\xff\x03"} {
		if _, err := c.Write([]byte(question)); err != nil {
			t.Fatal(err)
		}
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 1500)
	n, err := c.Read(b)
	if err != nil || !strings.Contains(string(b[:n]), "SERIAL:40000007\xff") || !strings.Contains(string(b[:n]), "MAC:02-A5-5A-00-00-07") {
		t.Errorf("%q, %v", b[:n], err)
	}
	for end := time.Now().Add(10 * time.Second); f.Sent() < 1 && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // the answer is here before it is counted
	}
	if f.Sent() != 1 || len(f.Heard()) != 2 || f.Asked()["2380"] != 2 {
		t.Errorf("%d answers, heard %d", f.Sent(), len(f.Heard()))
	}
}

func TestMistakesInAFileAreSaid(t *testing.T) {
	for want, file := range map[string]string{
		"needs a name": "name: x",
		"port 0":       "{name: x, answers: [{parts: [{text: a}]}]}",
		"group":        "{name: x, answers: [{port: 1, group: 192.0.2.1, parts: [{text: a}]}]}",
		"hex":          "{name: x, answers: [{port: 1, parts: [{hex: abc}]}]}",
		"frame":        "{name: x, answers: [{port: 1, frame: y, parts: [{text: a}]}]}",
		"nothing":      "{name: x, answers: [{port: 1}]}",
		"not found":    "{name: x, colour: blue}",
	} {
		if _, err := Parse([]byte(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
