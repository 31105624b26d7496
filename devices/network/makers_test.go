package network

import (
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

// makers are the simulated units of every maker, and what is read of each with
// login.
var makers = []struct {
	camera   string
	want     map[string][]string
	marks    map[string]string
	children []string // name, and the makers that its solid marks name
	problems int
}{
	{"hanwha", map[string][]string{
		"model": {"unit XND-C9083RV"}, "serial": {"unit ZZZZ70GR700007A"}, "mac": {"unit 00:00:5E:00:53:51"}, "version": {"firmware 2.11.01_20211210_R251"},
		"build-date": {"firmware 2021-12-10"}, "protocol": {"network http", "network sunapi"}, "recorder": nil,
	}, map[string]string{"hanwha": "c1", "hikvision": ""}, nil, 0},
	{"hanwha-nvr", map[string][]string{
		"model": {"unit PRN-4011"}, "serial": nil, "version": {"firmware v2.10_180329015157"},
		"recorder": {"unit cameras behind it are listed"},
	}, map[string]string{"hanwha": "c1"}, []string{"channel 1 XND-C9083RV 192.0.2.52 []", "channel 2 DS-2CD2143G2-I 192.0.2.53 []"}, 0},
	{"bosch", map[string][]string{
		"maker": {"unit BOSCH"}, "model": {"unit FLEXIDOME indoor 5100i IR"}, "serial": {"unit 404700000001050102"}, "mac": {"unit 00:00:5E:00:53:53"},
		"label": {"unit Gate"}, "hardware": {"board F000B543"}, "video-sources": {"unit 1"}, "media-profiles": {"firmware Profile_L1S1, Profile_L1S2"},
	}, map[string]string{"keenfinity": "c1"}, nil, 0},
	{"vivotek", map[string][]string{
		"model": {"unit IB9389-EH"}, "serial": {"unit 00005E005354"}, "mac": {"unit 00:00:5E:00:53:54"}, "version": {"firmware IB9389-VVTK-0100e7"}, "customer": {"firmware VVTK"},
	}, map[string]string{"vivotek": "c1"}, nil, 0},
	{"uniview", map[string][]string{
		"maker": {"unit bbb"}, "model": {"unit IPC-E314"}, "serial": {"unit 210235C3EN0000000055"}, "version": {"firmware IPC_Q1207-B0006D1904", "boot-loader V1.1"},
		"protocol": {"network http", "network lapi", "network onvif"},
	}, map[string]string{"uniview": "c2"}, nil, 0},
	{"uniview-nvr", map[string][]string{
		"model": {"unit NVR302-16S2"}, "recorder": {"unit cameras behind it are listed"},
	}, map[string]string{"uniview": "c2", "hikvision": ""}, []string{"channel 1 HIKVISION DS-2CD1131-I DS-2CD1131-I20200101AAWR000000057 192.0.2.67 []"}, 0},
	{"tvt", map[string][]string{
		"maker": {"unit Northgate Security"}, "model": {"unit I6-340IPE-MVF"}, "serial": {"unit 2E3200000058"}, "mac": {"unit 00:00:5E:00:53:58"},
		"version": {"firmware 5.3.0.12288B240820.IG1.U1(08A10)"}, "build-date": {"firmware 2024-10-31"}, "hardware": {"board 1.5"},
	}, map[string]string{"tvt": "c2"}, nil, 0},
	{"ipro", map[string][]string{
		"model": {"unit WV-S2136L"}, "serial": {"unit ZZA00059"}, "mac": {"unit 00:00:5E:00:53:59"}, "version": {"firmware 1.41"},
	}, nil, nil, 0},
	{"sony", map[string][]string{
		"model": {"unit SRG-X400"}, "serial": {"unit 0000060"}, "version": {"firmware 3.0.0"},
	}, nil, nil, 0},
	{"reolink", map[string][]string{
		"maker": {"unit Reolink"}, "model": {"unit RLC-822A"}, "serial": {"unit 00000000000061"}, "protocol": {"network http", "network onvif", "network reolink"},
	}, nil, nil, 1},
	{"foscam", map[string][]string{
		"maker": {"unit Foscam"}, "model": {"unit C2"}, "mac": {"unit 00:00:5E:00:53:62"},
	}, nil, nil, 0},
	{"hikvision-nvr", map[string][]string{
		"model": {"unit DS-7608NI-I2/8P"}, "recorder": {"unit cameras behind it are listed"}, "camera-channels": {"unit 8"},
	}, map[string]string{"hikvision": "c2"}, []string{
		"channel 1 NGS-4040 NGS20250311AAWR000000064 192.0.2.64 [hikvision]", "channel 2 QNV-C8083R 192.0.2.65 []",
	}, 0},
	{"dahua-nvr", map[string][]string{
		"serial": {"unit ND000000000066"}, "mac": {"unit 00:00:5E:00:53:66"}, "update-serial": {"unit DHI-NVR4108HS-8P-4KS2"}, "name": {"soc ST7108"},
		"maker": nil, "recorder": {"unit cameras behind it are listed"},
	}, map[string]string{"dahua": "c2"}, []string{
		"channel 1 IPC-HFW2831E-S 0A00000PAG00067 192.0.2.67 [dahua]", "channel 2 P1465-LE 192.0.2.68 []",
	}, 0},
	{"axis-os12", map[string][]string{
		"model": {"unit P3265-V"}, "serial": {"unit 00005E005369"}, "name": {"soc Axis Artpec-8"}, "interfaces": {"firmware 3"},
		"custom-firmware-certificate": {"firmware the unit can be given one; whether it has is not read"},
		"certificate":                 {"unit Axis device ID ECC-P256 (IEEE 802.1AR) in keystore TEE0"}, "rtsp-port": {"network 554"},
	}, map[string]string{"axis": "c1"}, nil, 0},
}

func TestEveryMakerIsReadWithLogin(t *testing.T) {
	for _, c := range makers {
		t.Run(c.camera, func(t *testing.T) {
			t.Parallel()
			camera, server := start(t, c.camera, nil)
			m, err := identify(t, server.URL, Options{Account: account(camera)})
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range c.want {
				got := slices.Sorted(slices.Values(m.values(name)))
				if want := slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			for entity, want := range c.marks {
				if got := m.strongest(entity); got < want || want == "" && got != "" {
					t.Errorf("strongest mark of %s is %q, want %q at least", entity, got, want)
				}
			}
			var children []string
			for _, child := range m.children {
				var makers []string
				for _, k := range child.Marks {
					if k.Strength >= attest.C2 && !slices.Contains(makers, k.Entity) {
						makers = append(makers, k.Entity)
					}
				}
				children = append(children, fmt.Sprint(child.Name(), " ", makers))
			}
			if !slices.Equal(children, c.children) {
				t.Errorf("children %q, want %q", children, c.children)
			}
			if len(m.problems) != c.problems || server.Refused() != 0 {
				t.Errorf("%d problems, want %d; %d logins refused", len(m.problems), c.problems, server.Refused())
			}
			for _, raw := range m.artefacts {
				if strings.Contains(raw, "chi1dpassword") {
					t.Errorf("the password of a camera behind it is kept:\n%s", raw)
				}
			}
			if t.Failed() {
				t.Logf("\n%s\n%+v", m, server.Log())
			}
		})
	}
}

// TestNothingIsWrittenAndOneLoginIsRefusedAtMost is the promise of the package,
// for every camera there is: with no login, with the right one and with a wrong one.
func TestNothingIsWrittenAndOneLoginIsRefusedAtMost(t *testing.T) {
	for _, name := range simulator.List() {
		if strings.HasPrefix(name, "hostile-") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, login := range []string{"none", "right", "wrong"} {
				camera, server := start(t, name, nil)
				var a *devices.Account
				switch login {
				case "right":
					a = account(camera)
				case "wrong":
					a = devices.NewAccount(camera.Account.User, "not-the-password")
				}
				m, err := identify(t, server.URL, Options{Account: a, AllowBasic: true, Ports: server.Ports, SNMP: SNMP{Community: "demo-community"}, Timeout: time.Second})
				if err != nil {
					t.Fatal(err)
				}
				if w := server.Writes(); len(w) != 0 {
					t.Errorf("%s login: not known to read only: %v", login, w)
				}
				wrong := map[string]int{"none": 0, "right": 0, "wrong": 1}[login]
				if login == "wrong" && len(server.Logins()) == 0 {
					wrong = 0 // it has nothing that a login would open
				}
				if server.Refused() != wrong || login == "none" && len(server.Logins()) != 0 {
					t.Errorf("%s login: %v\n%s", login, server.Logins(), m)
				}
				web := slices.DeleteFunc(server.Log(), func(r simulator.Request) bool { return r.Protocol != "" })
				if n := len(web); n > 30 || login == "none" && n > 20 { // docs/network.md
					t.Errorf("%s login: %d requests", login, n)
				}
			}
		})
	}
}

func TestUnknownUnitIsAskedEachProtocolOnce(t *testing.T) {
	camera, err := simulator.Parse([]byte("name: unknown\nhttp: {server: something}\n"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := camera.Start(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	m, err := identify(t, server.URL, Options{})
	if err != nil || len(m.problems) != 0 {
		t.Errorf("%v\n%s", err, m)
	}
	if got := len(server.Log()); got != unknownRequests {
		t.Errorf("%d requests, want %d: %v", got, unknownRequests, server.Log())
	}
}

func TestKnownMakerSparesTheOthersProtocols(t *testing.T) {
	for name, never := range map[string][]string{
		"hikvision": {"magicBox", "LAPI", "GetDeviceInfo", "axis-cgi", "stw-cgi", "rcp.xml", "favicon"},
		"axis-like": {"stw-cgi", "rcp.xml", "getparam", "inquiry.cgi", "api.cgi", "favicon"},
	} {
		t.Run(name, func(t *testing.T) {
			camera, server := start(t, name, nil)
			if _, err := identify(t, server.URL, Options{Account: account(camera)}); err != nil {
				t.Fatal(err)
			}
			for _, r := range server.Log() {
				for _, n := range never {
					if strings.Contains(r.URI+" ", n) {
						t.Errorf("asked %s %s", r.Method, r.URI)
					}
				}
			}
		})
	}
}

// TestEveryMakerMisbehavesInEveryWay: whatever a unit does, the session ends in
// time, with the start page's banner and without harm.
func TestEveryMakerMisbehavesInEveryWay(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for time-outs")
	}
	for _, quirk := range simulator.Quirks {
		t.Run(string(quirk), func(t *testing.T) {
			t.Parallel()
			var wg sync.WaitGroup // all at once: they wait, mostly
			for _, c := range makers {
				camera, server := start(t, c.camera, func(s *simulator.Camera) { s.Hostile = quirk })
				wg.Go(func() {
					m, err := identify(t, server.URL, Options{Account: account(camera), Timeout: time.Second, MaxBody: 1 << 16})
					if err != nil {
						t.Errorf("%s: %v", c.camera, err)
						return
					}
					if len(m.values("http-status")) == 0 || len(m.problems) == 0 || len(server.Writes()) != 0 || len(server.Logins()) != 0 {
						t.Errorf("%s: logins %v, writes %v\n%s", c.camera, server.Logins(), server.Writes(), m)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestRecorderWhoseCamerasCannotBeListedSaysSo(t *testing.T) {
	for _, c := range []struct {
		camera string
		change func(*simulator.Camera)
		login  bool
		says   string
	}{
		{"hikvision-nvr", nil, false, "not listed: the list needs a login"},
		{"dahua-nvr", nil, false, "<no claim>"}, // nothing tells that it is one
		{"dahua-nvr", func(c *simulator.Camera) {
			c.Routes = []simulator.Route{{Path: "/cgi-bin/configManager.cgi", Status: 403, Body: `{"error":{"code":403,"message":"Authority:check failure."},"result":false}`}}
		}, true, "RemoteDevice is refused, which is also how a name that the unit does not know is answered"},
		{"hanwha-nvr", func(c *simulator.Camera) { c.Routes = c.Routes[:1] }, true, "cameraregister was not answered, refused, or in a form that is not read"},
		{"uniview-nvr", func(c *simulator.Camera) { c.Routes = c.Routes[:1] }, true, "ChannelDetailInfos was not answered or refused"},
		{"hikvision-nvr", func(c *simulator.Camera) { c.Routes = c.Routes[:1] }, true, "InputProxy/channels was refused (status 404)"},
	} {
		t.Run(c.camera+" "+c.says, func(t *testing.T) {
			camera, server := start(t, c.camera, c.change)
			o := Options{}
			if c.login {
				o.Account = account(camera)
			}
			m, err := identify(t, server.URL, o)
			got := strings.Join(m.values(attest.NameRecorder), "; ")
			if got == "" {
				got = "<no claim>"
			}
			if err != nil || !strings.Contains(got, c.says) || len(m.children) != 0 {
				t.Errorf("%v: recorder %q\n%s", err, got, m)
			}
		})
	}
}

// unknownRequests is how many requests a unit gets that answers none of them:
// the start page, one for each protocol but Foscam's, the older one of Axis, and
// the icon. docs/network.md says so.
const unknownRequests = 15
