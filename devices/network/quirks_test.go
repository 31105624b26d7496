package network

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/simulator"
)

// What firmware of the field does otherwise than its protocol says, a test for
// each. Digest challenges are in account_test.go and digest_test.go, redirects,
// lengths and endless answers in hostile_test.go.

func duration(d time.Duration) *time.Duration { return &d }

func TestClockOfTheField(t *testing.T) {
	for _, c := range []struct {
		name     string
		clock    time.Duration // what it gives as UTC
		local    *time.Duration
		token    time.Duration // what it holds tokens against
		accepted bool
	}{
		{"a clock that is right", 0, nil, 0, true},
		{"a clock years behind", -20_000 * time.Hour, nil, -20_000 * time.Hour, true},
		{"local time given as UTC, and UTC as local", 2 * time.Hour, duration(0), 0, true},
		{"local time given as UTC, and nothing else", 2 * time.Hour, nil, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			camera, server := start(t, "onvif-plain", func(s *simulator.Camera) {
				s.ONVIF.Clock, s.ONVIF.Local, s.ONVIF.TokenClock = c.clock, c.local, duration(c.token)
			})
			m, err := identify(t, server.URL, Options{Account: account(camera)})
			if err != nil {
				t.Fatal(err)
			}
			has(t, m, attest.NameClockOffset, fmt.Sprintf("unit %.0f", c.clock.Seconds()))
			if got := server.Refused() == 0; got != c.accepted || server.Refused() > 1 {
				t.Errorf("logins %v\n%s", server.Logins(), m)
			}
		})
	}
}

func TestSecondTryOnlyWhereThePasswordIsKnownToBeRight(t *testing.T) {
	t.Run("by the other clock", func(t *testing.T) {
		camera, server := start(t, "hikvision", func(s *simulator.Camera) {
			s.ONVIF.Clock, s.ONVIF.Local, s.ONVIF.TokenClock = 2*time.Hour, duration(3*time.Hour), duration(3*time.Hour)
		})
		m, err := identify(t, server.URL, Options{Account: account(camera)})
		if err != nil || server.Refused() != 1 || !slices.Contains(m.values(attest.NameMaker), "unit HIKVISION") || len(m.problems) != 0 {
			t.Errorf("%v: logins %v\n%s", err, server.Logins(), m)
		}
	})
	t.Run("not where nothing took it before", func(t *testing.T) {
		camera, server := start(t, "onvif-plain", func(s *simulator.Camera) {
			s.ONVIF.Clock, s.ONVIF.Local, s.ONVIF.TokenClock = 2*time.Hour, duration(3*time.Hour), duration(3*time.Hour)
		})
		if _, err := identify(t, server.URL, Options{Account: account(camera)}); err != nil || len(server.Logins()) != 1 {
			t.Errorf("%v: logins %v", err, server.Logins())
		}
	})
	t.Run("by HTTP digest where the refusal brings a challenge", func(t *testing.T) {
		camera, server := start(t, "hikvision", func(s *simulator.Camera) { s.ONVIF.Login = "http" })
		m, err := identify(t, server.URL, Options{Account: account(camera)})
		if err != nil || server.Refused() != 0 || !slices.Contains(m.values(attest.NameMaker), "unit HIKVISION") {
			t.Errorf("%v: logins %v\n%s", err, server.Logins(), m)
		}
	})
}

func TestONVIFUsersKeptApart(t *testing.T) {
	own := func(s *simulator.Camera) {
		s.ONVIF.Account = &simulator.Account{User: "onvif", Password: "demo-onvif-user"}
	}
	t.Run("the HTTP login is refused once and said not to be a wrong password", func(t *testing.T) {
		camera, server := start(t, "hikvision", own)
		m, err := identify(t, server.URL, Options{Account: account(camera)})
		p := m.about("onvif GetDeviceInformation")
		if err != nil || server.Refused() != 1 || len(p) != 1 || !strings.Contains(p[0].Says, "its ONVIF user is missing or disabled") {
			t.Errorf("%v: logins %v\n%s", err, server.Logins(), m)
		}
	})
	t.Run("with its own account both are read", func(t *testing.T) {
		camera, server := start(t, "hikvision", own)
		m, err := identify(t, server.URL, Options{Account: account(camera), ONVIFAccount: devices.NewAccount("onvif", "demo-onvif-user")})
		if err != nil || server.Refused() != 0 || len(m.problems) != 0 || !slices.Contains(m.values(attest.NameMaker), "unit HIKVISION") {
			t.Errorf("%v: logins %v\n%s", err, server.Logins(), m)
		}
	})
	t.Run("a wrong ONVIF account does not spend the other", func(t *testing.T) {
		camera, server := start(t, "hikvision", own)
		a, wrong := account(camera), devices.NewAccount("onvif", "not-the-password")
		if _, err := identify(t, server.URL, Options{Account: a, ONVIFAccount: wrong}); err != nil || a.Refused() != "" || wrong.Refused() == "" || server.Refused() != 1 {
			t.Errorf("%v: logins %v", err, server.Logins())
		}
	})
}

func TestONVIFWithoutCapabilitiesIsAskedForServices(t *testing.T) {
	camera, server := start(t, "bosch", func(s *simulator.Camera) { s.ONVIF.NoCapabilities = true })
	m, err := identify(t, server.URL, Options{Account: account(camera)})
	if err != nil || !slices.Contains(m.values("video-sources"), "unit 1") {
		t.Errorf("%v\n%s", err, m)
	}
}

func TestMediaServiceAtAnUnknownPathIsNotAsked(t *testing.T) {
	camera, server := start(t, "bosch", func(s *simulator.Camera) { s.ONVIF.MediaPath = "/cgi-bin/reboot" })
	m, err := identify(t, server.URL, Options{Account: account(camera)})
	if err != nil || len(m.about("onvif GetProfiles")) != 1 || slices.ContainsFunc(server.Log(), func(r simulator.Request) bool { return strings.Contains(r.URI, "reboot") }) {
		t.Errorf("%v\n%s", err, m)
	}
}

func TestWrongXAddrOfTheMediaServiceKeepsHostAndPort(t *testing.T) {
	_, other := start(t, "bosch", nil)
	camera, server := start(t, "bosch", func(s *simulator.Camera) { s.ONVIF.XAddr = other.URL })
	m, err := identify(t, server.URL, Options{Account: account(camera)})
	if err != nil || !slices.Contains(m.values("media-profiles"), "firmware Profile_L1S1, Profile_L1S2") || len(other.Log()) != 0 {
		t.Errorf("%v, the other was asked %v\n%s", err, other.Log(), m)
	}
}

func TestErrorsInsideStatus200(t *testing.T) {
	for _, c := range []struct {
		camera, source, body, says string
		kind                       attest.ProblemKind
	}{
		{"uniview", "lapi /LAPI/V1.0/System/DeviceInfo", `{"Response":{"ResponseURL":"/LAPI/V1.0/System/DeviceInfo","ResponseCode":1,"ResponseString":"Common Error","Data":null}}`, "answered with an error: 1 Common Error", attest.ProblemIncomplete},
		{"tvt", "tvt /GetDeviceInfo", `<config version="1.0" xmlns="http://www.ipc.com/ver10" status="failed" errorCode="10"/>`, "the user is locked (error 10)", attest.ProblemAccess},
		{"tvt", "tvt /GetDeviceInfo", `<config xmlns="http://www.ipc.com/ver10"><status>failed</status><errorCode>3</errorCode></config>`, "answered with error 3", attest.ProblemIncomplete},
		{"bosch", "rcp " + rcpName.uri, `<rcp><command><hex>0x0019</hex></command><type>P_UNICODE</type><result><err>0x90</err></result></rcp>`, "error 0x90", attest.ProblemIncomplete},
	} {
		t.Run(c.camera, func(t *testing.T) {
			_, server := start(t, c.camera, func(s *simulator.Camera) {
				s.ONVIF = nil
				s.Routes = []simulator.Route{{Path: s.Routes[0].Path, Body: c.body}}
			})
			m, err := identify(t, server.URL, Options{})
			p := m.about(c.source)
			if err != nil || len(p) != 1 || p[0].Kind != c.kind || !strings.Contains(p[0].Says, c.says) {
				t.Errorf("%v: problems %v", err, m.problems)
			}
		})
	}
}

func TestStatus599IsAnAnswerOfLAPI(t *testing.T) {
	_, server := start(t, "uniview", func(s *simulator.Camera) {
		s.ONVIF = nil
		s.Routes = []simulator.Route{
			{Path: "/LAPI/V1.0/System/DeviceInfo", Status: 599, Body: `{"Response":{"ResponseCode":1,"StatusString":"Not Supported"}}`},
			{Path: "/LAPI/V1.0/System/DeviceBasicInfo", Body: `{"Response":{"ResponseCode":0,"Data":{"DeviceModel":"IPC-X","SerialNumber":"210235C3EN0000000055"}}}` + "\n\x00"},
		}
	})
	m, err := identify(t, server.URL, Options{})
	if err != nil || m.strongest("uniview") != "c2" || !slices.Contains(m.values(attest.NameModel), "unit IPC-X") {
		t.Errorf("%v\n%s", err, m)
	}
}

func TestUnitWithoutAPasswordYetIsReported(t *testing.T) {
	for camera, change := range map[string]func(*simulator.Camera){
		"hikvision": func(s *simulator.Camera) {
			s.Routes = []simulator.Route{{Path: "/ISAPI/System/deviceInfo", Status: http.StatusUnauthorized, Body: `<ResponseStatus><subStatusCode>notActivated</subStatusCode></ResponseStatus>`}}
		},
		"axis-os12": func(s *simulator.Camera) {
			s.Routes[0].Body = strings.Replace(s.Routes[0].Body, `"needsetup":"no"`, `"needsetup":"yes"`, 1)
		},
	} {
		t.Run(camera, func(t *testing.T) {
			_, server := start(t, camera, change)
			m, err := identify(t, server.URL, Options{})
			if err != nil || !slices.Contains(m.values("activation"), "unit not activated") || len(server.Writes()) != 0 {
				t.Errorf("%v\n%s", err, m)
			}
		})
	}
}

func TestRPC2ChallengeTellsDahuaWithoutALogin(t *testing.T) {
	_, server := start(t, "dahua", func(s *simulator.Camera) {
		s.HTTP.Title, s.HTTP.Headers, s.ONVIF = "Northgate", nil, nil
		s.Routes = []simulator.Route{{Path: "/RPC2_Login", Operation: "global.login", Headers: map[string]string{"Content-Type": "application/json"},
			Body: `{"error":{"code":268632079,"message":"Component error: login challenge!"},"id":1,"params":{"encryption":"Default","random":"1234567890","realm":"Login to 0A00000PAG00012"},"result":false,"session":"0000"}`}}
	})
	m, err := identify(t, server.URL, Options{})
	if err != nil || len(server.Logins()) != 0 || len(server.Writes()) != 0 {
		t.Errorf("%v: logins %v, writes %v", err, server.Logins(), server.Writes())
	}
	has(t, m, "rpc2-realm", "network Login to 0A00000PAG00012")
	has(t, m, "rpc2-encryption", "firmware Default")
}

func TestWebLanguageIsAskedWhereThereIsOnlyAHint(t *testing.T) {
	_, server := start(t, "hikvision", func(s *simulator.Camera) {
		s.HTTP.Server, s.HTTP.LoginPage, s.ONVIF = "", "", nil
		s.Routes = []simulator.Route{{Path: "/SDK/webLanguage", Method: http.MethodGet, Body: `<Language xmlns="http://www.hikvision.com/ver20/XMLSchema"><type>English</type></Language>`}}
	})
	m, err := identify(t, server.URL, Options{})
	if err != nil || m.strongest("hikvision") != "c2" {
		t.Errorf("%v\n%s", err, m)
	}
}

func TestFoscamIsAskedWithoutALoginAndSaysWhyNotWithOne(t *testing.T) {
	m := read(foscamInfo, "<CGI_Result>\n<result>-2</result>\n</CGI_Result>", func(s *session, a *answer) { s.foscamRead(a) })
	if len(m.problems) != 1 || !strings.Contains(m.problems[0].Says, "Foscam takes the password in the address only, where logs keep it: not given") {
		t.Errorf("\n%s", m)
	}
	m = read(foscamInfo, "<CGI_Result><result>0</result><productName>FI9831W</productName><mac>00005E005362</mac><firmwareVer>2.11.1.7</firmwareVer><hardwareVer>1.4.1.9</hardwareVer></CGI_Result>",
		func(s *session, a *answer) { s.foscamRead(a) })
	has(t, m, attest.NameModel, "unit FI9831W")
	has(t, m, attest.NameMAC, "unit 00:00:5E:00:53:62")
}

func TestFaviconNumber(t *testing.T) {
	// Values that several implementations of MurmurHash3_x86_32 test with, seed 0.
	for in, want := range map[string]uint32{"": 0, "a": 0x3c2569b2, "hello": 0x248bfa47, "hello, world": 0x149bbb7f, "The quick brown fox jumps over the lazy dog": 0x2e4ff723} {
		if got := murmur3([]byte(in)); got != want {
			t.Errorf("%q is %#x, want %#x", in, got, want)
		}
	}
	_, server := start(t, "sony", func(s *simulator.Camera) {
		s.Routes = []simulator.Route{{Path: "/favicon.ico", Headers: map[string]string{"Content-Type": "image/x-icon"}, Body: strings.Repeat("\x00\x01icon", 40)}}
	})
	m, err := identify(t, server.URL, Options{})
	if got := m.values("http-favicon"); err != nil || len(got) != 1 {
		t.Errorf("%v: %q", err, got)
	}
}

func TestPasswordsOfOthersAreTakenOut(t *testing.T) {
	for in, want := range map[string]string{
		"table.RemoteDevice[0].Password=s3cret\r\ntable.RemoteDevice[0].Port=1": "table.RemoteDevice[0].Password=********\r\ntable.RemoteDevice[0].Port=1",
		"<password>s3cret</password>":                                           "<password>********</password>",
		`<ns:Password type="string">s3cret</ns:Password>`:                       `<ns:Password type="string">********</ns:Password>`,
		`{"Password" : "s3\"cret", "User":"a"}`:                                 `{"Password" : "********", "User":"a"}`,
		"StreamUrl=rtsp://admin:s3cret@192.0.2.1/1":                             "StreamUrl=rtsp://********@192.0.2.1/1",
		"PasswordStrength=Strong":                                               "PasswordStrength=Strong",
		"root.Properties.API.Browser.RootPwdSetValue=yes":                       "root.Properties.API.Browser.RootPwdSetValue=yes",
		`<UserCheck><retryLoginTime>5</retryLoginTime>`:                         `<UserCheck><retryLoginTime>5</retryLoginTime>`,
		"http://192.0.2.1/path@x":                                               "http://192.0.2.1/path@x",
	} {
		if got := string(redacted([]byte(in))); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestTimeThatNeedsALoginFallsToHTTPDigest(t *testing.T) {
	camera, server := start(t, "onvif-plain", func(s *simulator.Camera) {
		s.ONVIF.Login, s.HTTP.Login, s.HTTP.Realm, s.HTTP.QOP = "http", []string{"digest"}, "onvif", "auth"
		s.Routes = []simulator.Route{{Path: "/onvif/device_service", Operation: "GetSystemDateAndTime", Login: true}}
	})
	m, err := identify(t, server.URL, Options{Account: account(camera)})
	if err != nil || server.Refused() != 0 || !slices.Contains(m.values(attest.NameSerial), "unit ZZZZ70GW000031A") {
		t.Errorf("%v: logins %v\n%s", err, server.Logins(), m)
	}
}

// raw answers every connection with these bytes and counts how many are open at once.
func raw(t *testing.T, says string) (address string, most *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var open atomic.Int32
	most = new(atomic.Int32)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if n := open.Add(1); n > most.Load() {
				most.Store(n)
			}
			go func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(5 * time.Second))
				conn.Read(make([]byte, 4096))
				io.WriteString(conn, says)
				conn.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, conn)
				open.Add(-1)
			}()
		}
	}()
	return l.Addr().String(), most
}

func TestHeadersInOddCaseAndNeverTwoConnections(t *testing.T) {
	body := `<DeviceInfo xmlns="http://www.hikvision.com/ver20/XMLSchema"><model>DS-2CD2143G2-I</model></DeviceInfo>`
	address, most := raw(t, fmt.Sprintf("HTTP/1.0 200 OK\r\nCONNECTION: close\r\ncontent-LENGTH: %d\r\nSERVER: App-webs/\r\n\r\n%s", len(body), body))
	m, err := identify(t, address, Options{})
	if err != nil || !slices.Contains(m.values(attest.NameModel), "unit DS-2CD2143G2-I") || !slices.Contains(m.values("http-server"), "network App-webs/") {
		t.Errorf("%v\n%s", err, m)
	}
	if n := most.Load(); n > 2 { // the server sees the end of one later than the client
		t.Errorf("%d connections at once", n)
	}
}

func TestServerThatWantsALoginForEveryPath(t *testing.T) {
	closed := func(realm string, accept string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Header.Get("Authorization") == "":
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Digest realm=%q, nonce="a", qop="auth"`, realm))
				w.WriteHeader(http.StatusUnauthorized)
			case r.URL.Path == accept:
				io.WriteString(w, "Model=XNV-1\nFirmwareVersion=1.0.0\nCGIVersion=2.6\n")
			default:
				http.NotFound(w, r)
			}
		}
	}
	t.Run("is not said to need a login for protocols of other makers", func(t *testing.T) {
		m, err := identify(t, serveFunc(t, closed("iPOLiS", "/stw-cgi/system.cgi")), Options{})
		p := m.about("network")
		if err != nil || len(p) != 1 || !strings.Contains(p[0].Says, "sunapi /stw-cgi") || strings.Contains(p[0].Says, "isapi") {
			t.Errorf("%v: problems %v", err, m.problems)
		}
	})
	t.Run("is asked first in the protocol of the maker that the realm hints at", func(t *testing.T) {
		var asked []string
		url := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				asked = append(asked, r.URL.Path)
			}
			closed("iPOLiS", "/stw-cgi/system.cgi")(w, r)
		})
		m, err := identify(t, url, Options{Account: devices.NewAccount("admin", "p4ssw0rd")})
		if err != nil || len(asked) == 0 || asked[0] != "/stw-cgi/system.cgi" || slices.Contains(asked, "/ISAPI/System/deviceInfo") || !slices.Contains(m.values(attest.NameModel), "unit XNV-1") {
			t.Errorf("%v: asked with login %q\n%s", err, asked, m)
		}
	})
	t.Run("is asked in all of them where nothing hints", func(t *testing.T) {
		m, err := identify(t, serveFunc(t, closed("a", "/stw-cgi/system.cgi")), Options{Account: devices.NewAccount("admin", "p4ssw0rd")})
		if err != nil || !slices.Contains(m.values(attest.NameModel), "unit XNV-1") {
			t.Errorf("%v\n%s", err, m)
		}
	})
}
