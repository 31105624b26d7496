package network

import (
	"bufio"
	"errors"
	"os"
	"strings"
	"testing"
)

// corpus reads a sample that only developers have.
func corpus(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../../shared/corpus/network/" + name)
	if err != nil {
		t.Skipf("no corpus file network/%s", name)
	}
	return b
}

// The answers that RFC 7616 §3.9.1 and RFC 2617 §3.5 print.
func TestAuthorizeAsTheRFCsPrint(t *testing.T) {
	for _, c := range []struct{ name, challenge, password, cnonce, response string }{
		{"RFC 7616 MD5", `Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`,
			"Circle of Life", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "8ca523f5e9506fed4657c9700eebdbec"},
		{"RFC 7616 SHA-256", `Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`,
			"Circle of Life", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"},
		{"RFC 2617", `Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"`,
			"Circle Of Life", "0a4f113b", "6629fae49393a05397450978507c4ef1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			offers, err := parseChallenges([]string{c.challenge})
			if err != nil {
				t.Fatal(err)
			}
			chosen, err := choose(offers, false)
			if err != nil {
				t.Fatal(err)
			}
			got, err := chosen.authorize("Mufasa", c.password, "GET", "/dir/index.html", "", c.cnonce)
			if err != nil || !strings.Contains(got, `response="`+c.response+`"`) || !strings.Contains(got, ", qop=auth, nc=00000001, ") {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}

func TestUserhashHidesTheUser(t *testing.T) {
	offers, err := parseChallenges([]string{`Digest realm="a", nonce="b", algorithm=SHA-256, qop="auth", userhash=true`})
	if err != nil {
		t.Fatal(err)
	}
	got, err := offers[0].authorize("admin", "p", "GET", "/", "", "c")
	if err != nil || strings.Contains(got, "admin") || !strings.Contains(got, "userhash=true") {
		t.Errorf("%s, %v", got, err)
	}
}

func TestOnlyAuthIntCoversTheBody(t *testing.T) {
	offers, _ := parseChallenges([]string{`Digest realm="a", nonce="b", qop="auth-int"`})
	one, _ := offers[0].authorize("u", "p", "POST", "/", "body", "c")
	two, _ := offers[0].authorize("u", "p", "POST", "/", "other", "c")
	if one == two || !strings.Contains(one, "qop=auth-int") {
		t.Errorf("%s and %s", one, two)
	}
}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines []string
		want  string // scheme and algorithm
		err   error
	}{
		{"digest without an algorithm is MD5", []string{`Digest realm="a", nonce="n"`}, "digest ", nil},
		{"the stronger of two lines", []string{`Digest realm="a", nonce="n", algorithm=MD5`, `Digest realm="a", nonce="m", algorithm=SHA-256`}, "digest SHA-256", nil},
		{"the stronger of one line", []string{`Digest realm="a", nonce="n", algorithm=MD5, Digest realm="a", nonce="m", algorithm="SHA-256-sess", Basic realm="a"`}, "digest SHA-256-sess", nil},
		{"a known one beside an unknown one", []string{`Digest realm="a", nonce="n", algorithm=SHA3`, `Digest realm="a", nonce="m"`}, "digest ", nil},
		{"basic before digest on one line", []string{`Basic realm="a, b", Digest realm="a", nonce="n"`}, "digest ", nil},
		{"doubled commas and blanks", []string{`Digest realm = "a" ,, nonce="n",,algorithm = MD5 ,`}, "digest MD5", nil},
		{"odd letter case", []string{`DIGEST Realm="a", NONCE="n", Algorithm=md5`}, "digest md5", nil},
		{"no comma between parameters", []string{`Digest realm="a" nonce="n"`}, "digest ", nil},
		{"an empty parameter", []string{`Digest realm="a", opaque=, nonce="n"`}, "digest ", nil},
		{"a quoted quote in the realm", []string{`Digest realm="a \"b\", c", nonce="n"`}, "digest ", nil},
		{"NTLM before digest", []string{`NTLM TlRMTVNTUAAC==, Digest realm="a", nonce="n"`}, "digest ", nil},
		{"basic alone", []string{`Basic realm="device"`}, "", errBasicOnly},
		{"an unreadable digest never leads to basic", []string{`Digest realm="a"`, `Basic realm="a"`}, "", errUnreadable},
		{"no nonce", []string{`Digest realm="a"`}, "", errUnreadable},
		{"no realm", []string{`Digest nonce="a"`}, "", errUnreadable},
		{"an unknown quality of protection", []string{`Digest realm="a", nonce="n", qop="auth-conf"`}, "", errUnreadable},
		{"a quote that does not close", []string{`Digest realm="a, nonce="n"`}, "", errUnreadable},
		{"a parameter twice", []string{`Digest realm="a", nonce="n", nonce="m"`}, "", errUnreadable},
		{"a parameter without scheme", []string{`realm="a", nonce="n"`}, "", errUnreadable},
		{"nothing", nil, "", errUnreadable},
		{"far too long", []string{`Digest realm="` + strings.Repeat("a", 1<<20) + `", nonce="n"`}, "", errUnreadable},
		{"far too many", []string{strings.Repeat("Basic,", 1000)}, "", errUnreadable},
		{"control characters", []string{"Digest \x01"}, "", errUnreadable},
	} {
		t.Run(c.name, func(t *testing.T) {
			offers, err := parseChallenges(c.lines)
			if err == nil {
				var chosen challenge
				if chosen, err = choose(offers, false); err == nil {
					if got := chosen.scheme + " " + chosen.params["algorithm"]; got != c.want {
						t.Errorf("chose %q, want %q", got, c.want)
					}
				}
			}
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("error %v, want %v", err, c.err)
			}
		})
	}
}

func TestChallengesOfTheField(t *testing.T) {
	lines := bufio.NewScanner(strings.NewReader(string(corpus(t, "digest/challenges_observed.txt"))))
	digests, basics, unreadable := 0, 0, 0
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		var headers []string
		for _, h := range strings.Split(line, "||") {
			headers = append(headers, strings.TrimSpace(h))
		}
		offers, err := parseChallenges(headers)
		if err != nil || offers[0].realm() == "" {
			t.Errorf("%s: %v, realm %q", line, err, offers[0].realm())
			continue
		}
		switch chosen, err := choose(offers, true); {
		case errors.Is(err, errUnreadable):
			unreadable++
			if !strings.Contains(line, ", ...") {
				t.Errorf("%s: %v", line, err)
			}
		case err != nil:
			t.Errorf("%s: %v", line, err)
		case chosen.scheme == "basic":
			basics++
		default:
			digests++
			if _, err := chosen.authorize("u", "p", "GET", "/", "", "c"); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	// One line was cut off after its realm where it was published.
	if digests != 18 || basics != 3 || unreadable != 1 {
		t.Errorf("%d digests, %d basic, %d unreadable", digests, basics, unreadable)
	}
}

func FuzzChallenge(f *testing.F) {
	f.Add(`Digest realm="IP Camera(A0001)", nonce="21485f70", stale="FALSE"`)
	f.Add(`Basic realm="a", Digest realm="a, b",qop="auth, auth-int", nonce="n", algorithm=SHA-256-sess,, opaque=""`)
	f.Add(`NTLM TlRM==, Negotiate`)
	f.Add(`Digest realm="DVRNVRDVS", ...`)
	f.Fuzz(func(t *testing.T, line string) {
		offers, err := parseChallenges([]string{line})
		if err != nil && !errors.Is(err, errUnreadable) {
			t.Errorf("error %v", err)
		}
		if len(offers) > maxChallenges {
			t.Errorf("%d challenges", len(offers))
		}
		chosen, err := choose(offers, true)
		if err != nil {
			return
		}
		header, err := chosen.authorize("u", "p", "GET", "/", "", "c")
		if err != nil {
			t.Error(err)
		}
		// What we write must read as one challenge of the same scheme.
		back, err := parseChallenges([]string{header})
		if chosen.scheme == "digest" && !strings.Contains(chosen.params["algorithm"], `"`) &&
			(err != nil || len(back) != 1 || back[0].params["nonce"] != chosen.params["nonce"]) && len(header) < maxChallengeBytes {
			t.Errorf("%q gives %q, which reads %v, %v", line, header, back, err)
		}
	})
}
