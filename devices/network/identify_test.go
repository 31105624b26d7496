package network

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/simulator"
)

// memory is a sink that keeps everything.
type memory struct {
	mu        sync.Mutex
	artefacts map[attest.Digest]string
	claims    []attest.Claim
	marks     []attest.Mark
	problems  []attest.Problem
	children  []attest.Child
}

func (m *memory) Child(c attest.Child) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.children = append(m.children, c)
	return fmt.Sprint("child", len(m.children))
}

func (m *memory) Artefact(_, _ string, raw []byte) attest.Digest {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.artefacts == nil {
		m.artefacts = map[attest.Digest]string{}
	}
	d := attest.DigestOf(raw)
	m.artefacts[d] = string(raw)
	return d
}

func (m *memory) Claim(c attest.Claim) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claims = append(m.claims, c)
	return fmt.Sprint("c", len(m.claims))
}

func (m *memory) Mark(k attest.Mark) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.marks = append(m.marks, k)
	return fmt.Sprint("m", len(m.marks))
}

func (m *memory) Problem(kind attest.ProblemKind, source, says string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.problems = append(m.problems, attest.Problem{Kind: kind, Source: source, Says: says})
}

// values are the claims of a name as "subject value", without repetition.
func (m *memory) values(name string) []string {
	var v []string
	for _, c := range m.claims {
		if s := string(c.Subject) + " " + c.Value; c.Name == name && !slices.Contains(v, s) {
			v = append(v, s)
		}
	}
	return v
}

func (m *memory) strongest(entity string) string {
	var s attest.Strength
	for _, k := range m.marks {
		if k.Entity == entity {
			s = max(s, k.Strength)
		}
	}
	if s == 0 {
		return ""
	}
	return s.String()
}

func (m *memory) String() string {
	var b strings.Builder
	for _, c := range m.claims {
		fmt.Fprintf(&b, "claim %s %s = %s [%s]\n", c.Subject, c.Name, c.Value, c.Source)
	}
	for _, k := range m.marks {
		fmt.Fprintf(&b, "mark %s %s %s: %s [%s]\n", k.Entity, k.Strength, k.Rule, k.Match, k.Source)
	}
	for _, c := range m.children {
		fmt.Fprintf(&b, "child %s [%s] %d marks\n", c.Name(), c.Source, len(c.Marks))
	}
	for _, p := range m.problems {
		fmt.Fprintf(&b, "problem %s %s: %s\n", p.Kind, p.Source, p.Says)
	}
	return b.String()
}

func start(t testing.TB, name string, change func(*simulator.Camera)) (*simulator.Camera, *simulator.Server) {
	t.Helper()
	c, err := simulator.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(c)
	}
	server, err := c.Start(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return c, server
}

func identify(t testing.TB, url string, o Options) (*memory, error) {
	t.Helper()
	target, err := devices.ParseTarget(url)
	if err != nil {
		t.Fatal(err)
	}
	o.Pace = time.Millisecond
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	m := new(memory)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ch := Open(target, o)
	defer ch.Close()
	err = ch.Identify(ctx, m)
	m.check(t, o.Account)
	return m, err
}

// check holds what must be true of every session.
func (m *memory) check(t testing.TB, account *devices.Account) {
	t.Helper()
	_, password, _ := account.Login()
	for _, c := range m.claims {
		if c.Acquisition != attest.A0 || c.Channel != "" || c.Source == "" || c.Value == "" {
			t.Errorf("claim %+v", c)
		}
		if _, kept := m.artefacts[c.Raw]; !kept {
			t.Errorf("claim %s %s has no artefact", c.Subject, c.Name)
		}
		if password != "" && strings.Contains(c.Value+c.Source, password) {
			t.Errorf("claim %s shows the password", c.Name)
		}
	}
	for _, raw := range m.artefacts {
		if password != "" && strings.Contains(raw, password) || strings.Contains(raw, "\r\nAuthorization:") {
			t.Errorf("artefact shows a secret:\n%s", raw)
		}
	}
	for _, p := range m.problems {
		if password != "" && strings.Contains(p.Says, password) {
			t.Errorf("problem shows the password: %s", p.Says)
		}
	}
}

func account(c *simulator.Camera) *devices.Account {
	return devices.NewAccount(c.Account.User, c.Account.Password)
}

func TestIdentifyWithLogin(t *testing.T) {
	for _, c := range []struct {
		camera string
		want   map[string][]string
		marks  map[string]string
	}{
		{"axis-like", map[string][]string{
			"maker": {"unit AXIS"}, "model": {"unit P1465-LE"}, "serial": {"unit 00005E005301", "soc 000A1B2C-00000053"}, "mac": {"unit 00:00:5E:00:53:01"},
			"version": {"firmware 11.11.77"}, "build-date": {"firmware 2026-03-14"}, "hardware": {"board 9A1"}, "name": {"soc Axis Artpec-8"},
			"protocol": {"network http", "network onvif", "network axis"},
		}, map[string]string{"axis": "c1", "hikvision": ""}},
		{"hikvision", map[string][]string{
			"maker": {"unit hikvision", "unit HIKVISION"}, "model": {"unit DS-2CD2143G2-I"}, "serial": {"unit DS-2CD2143G2-I20230512AAWRL00000011"},
			"mac": {"unit 00:00:5E:00:53:11"}, "version": {"firmware V5.7.12", "boot-loader V1.3.4"}, "build-date": {"firmware 2022-08-19", "unit 2023-05-12"},
			"region": {"unit WR"}, "xaddr": {"network http://192.168.1.64"}, "platform": {"firmware B-R-G5-0"}, "name": nil,
		}, map[string]string{"hikvision": "c2", "dahua": ""}},
		{"dahua", map[string][]string{
			"maker": {"unit Dahua"}, "model": {"unit IPC-HFW2831E-S"}, "serial": {"unit 0A00000PAG00012"}, "mac": {"unit 00:00:5E:00:53:12"},
			"version": {"firmware 2.800.0000016.0.R"}, "build-date": {"firmware 2020-06-05"}, "name": {"soc S3LM"}, "hardware": {"board 1.00"},
			"update-serial": {"unit DH-IPC-HFW2831E-S-S2"},
		}, map[string]string{"dahua": "c2", "hikvision": ""}},
		{"relabelled", map[string][]string{
			"maker": {"unit Northgate Security"}, "model": {"unit NGS-4040"}, "mac": {"unit 00:00:5E:00:53:42"}, "http-title": {"network Northgate Security"},
		}, map[string]string{"hikvision": "c2"}},
		{"onvif-plain", map[string][]string{
			"maker": {"unit Hanwha Vision"}, "model": {"unit QNV-C8083R"}, "clock-offset": {"unit 7200"}, "protocol": {"network http", "network onvif"},
		}, map[string]string{"hikvision": "", "hanwha": ""}},
		{"vendor-signed", map[string][]string{
			"maker": {"unit Fjordlens AS"}, "model": {"unit FD-220"}, "serial": {"unit FLB2-000117"}, "mac": {"unit 00:00:5E:00:53:17"},
			"name": {"soc Ambarella S3L", "board FL-B2"}, "hardware": {"board FL-B2"}, "tls-subject": {"network CN=flb2-000117.fjordlens.example,O=Fjordlens AS"},
		}, map[string]string{"hikvision": "", "axis": ""}},
	} {
		t.Run(c.camera, func(t *testing.T) {
			camera, server := start(t, c.camera, nil)
			m, err := identify(t, server.URL, Options{Account: account(camera)})
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range c.want {
				got := m.values(name)
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			for entity, want := range c.marks {
				if got := m.strongest(entity); got != want {
					t.Errorf("strongest mark of %s is %q, want %q", entity, got, want)
				}
			}
			if len(m.problems) != 0 || server.Refused() != 0 || len(server.Writes()) != 0 {
				t.Errorf("%d logins refused, writes %v", server.Refused(), server.Writes())
			}
			if t.Failed() || testing.Verbose() {
				t.Logf("\n%s\n%+v", m, server.Log())
			}
		})
	}
}

func target(t testing.TB, s string) devices.Target {
	t.Helper()
	target, err := devices.ParseTarget(s)
	if err != nil {
		t.Fatal(err)
	}
	return target
}
