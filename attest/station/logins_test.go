package station

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"assay/devices"
	"assay/devices/simulator"
)

func collectWith(t *testing.T, h Home, url, password string, again bool, now func() time.Time) error {
	t.Helper()
	target, err := devices.ParseTarget(url)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := h.Collect(t.Context(), Request{
		Targets: []devices.Target{target}, Account: devices.NewAccount("admin", password), Again: again, Dir: t.TempDir(), Now: now,
	})
	if err != nil {
		return err
	}
	for _, p := range ev.Problems {
		if strings.Contains(p.Says, "earlier run") {
			return errEarlier(p.Says)
		}
	}
	return nil
}

type errEarlier string

func (e errEarlier) Error() string { return string(e) }

func TestLoginThatWasNotTakenIsRememberedOverRuns(t *testing.T) {
	camera, err := simulator.Load("hikvision")
	if err != nil {
		t.Fatal(err)
	}
	server, err := camera.Start(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	h := Home(t.TempDir())
	start := time.Now()
	at := func(d time.Duration) func() time.Time { return func() time.Time { return start.Add(d) } }
	for _, step := range []struct {
		name     string
		password string
		after    time.Duration
		again    bool
		logins   int // in all
		says     string
	}{
		{"a wrong password", "wrong", 0, false, 1, ""},
		{"another one, minutes later", "also wrong", 5 * time.Minute, false, 1, "wait until"},
		{"the right one, minutes later: the unit counts by account", camera.Account.Password, 6 * time.Minute, false, 1, "wait until"},
		{"a wrong one at the operator's own risk", "wrong", 7 * time.Minute, true, 2, ""},
		{"half an hour after that", "wrong", 7*time.Minute + LockWindow - time.Minute, false, 2, "wait until"},
		{"after the window, and right", camera.Account.Password, 7*time.Minute + LockWindow + time.Second, false, -1, ""},
		{"right again at once", camera.Account.Password, 7*time.Minute + LockWindow + 2*time.Second, false, -1, ""},
	} {
		before := len(server.Logins())
		err := collectWith(t, h, server.URL, step.password, step.again, at(step.after))
		if (err == nil) != (step.says == "") || err != nil && !strings.Contains(err.Error(), step.says) {
			t.Errorf("%s: %v, want %q", step.name, err, step.says)
		}
		if got := len(server.Logins()); step.logins >= 0 && got != step.logins || step.logins < 0 && got <= before {
			t.Errorf("%s: %d logins, want %d", step.name, got, step.logins)
		}
	}
	for _, f := range []string{"logins.db", "logins.db-wal"} {
		b, err := os.ReadFile(filepath.Join(string(h), "logins", f))
		if err == nil && (strings.Contains(string(b), "admin") || strings.Contains(string(b), camera.Account.Password)) {
			t.Errorf("%s shows the account", f)
		}
	}
}

func TestLockedHikvisionIsNotAskedAgain(t *testing.T) {
	camera, err := simulator.Load("hikvision")
	if err != nil {
		t.Fatal(err)
	}
	camera.Account.LockAfter = 3
	server, err := camera.Start(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	h := Home(t.TempDir())
	for i, want := range []int{1, 2, 2} { // the third would lock it
		if err := collectWith(t, h, server.URL, "wrong", i > 0, nil); err != nil || len(server.Logins()) != want {
			t.Errorf("run %d: %v, %d logins, want %d", i+1, err, len(server.Logins()), want)
		}
	}
}

func TestMissingONVIFUserDoesNotKeepTheNextRunFromHTTP(t *testing.T) {
	camera, err := simulator.Load("hikvision")
	if err != nil {
		t.Fatal(err)
	}
	camera.ONVIF.Account = &simulator.Account{User: "another", Password: "user's"}
	server, err := camera.Start(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	h := Home(t.TempDir())
	for i := range 2 {
		err := collectWith(t, h, server.URL, camera.Account.Password, false, nil)
		if first := i == 0; (err == nil) != first || err != nil && !strings.Contains(err.Error(), "onvif address") {
			t.Errorf("run %d: %v", i+1, err)
		}
		accepted := len(server.Logins()) - server.Refused()
		if server.Refused() != 1 || accepted < i+1 {
			t.Errorf("run %d: logins %v", i+1, server.Logins())
		}
	}
}

func TestTwoProgramsMakeOneKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	keys := make([]string, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			k, err := loginKey(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = string(k)
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k != keys[0] || len(k) != 32 {
			t.Errorf("keys differ")
		}
	}
}
