//go:build unix

package terminal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"assay/devices/console/line"
	"assay/internal/peer"
)

// login is a unit with a login: a real shell behind a real terminal, whose echo is
// off while a password is typed.
const login = `
printf 'camera login: '; read user
stty -echo; printf 'Password: '; read pass; stty echo; echo
[ "$pass" = hunter2x ] && echo "welcome $user" || echo "Login incorrect"
while printf '# '; read -r cmd; do
	case $cmd in
	exit) exit;;
	show) echo "psk=$pass";; # a unit that tells the password
	*) eval "$cmd";;
	esac
done`

// unit runs a script of the shell behind a terminal and returns the line to it.
func unit(t *testing.T, script string) (*line.Line, *bytes.Buffer) {
	t.Helper()
	sh := peer.Need(t, "busybox", "busybox")
	c := exec.Command(sh, "ash", "-c", script)
	c.Env = []string{"PATH=/usr/bin:/bin", "TERM=vt100"}
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	// Numbers of terminals are used again: a program that waits for a unit that it
	// lost would take this one for it, unless it is locked.
	lock, err := os.OpenFile(slave.Name(), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(int(lock.Fd()))
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	gone := make(chan struct{})
	go func() { // the unit's end is the line's end
		c.Wait()
		lock.Close()
		close(gone)
	}()
	t.Cleanup(func() { c.Process.Kill(); <-gone; master.Close() })
	log := &bytes.Buffer{}
	l := line.New("serial:test", master, line.NewTranscript(log, ""))
	t.Cleanup(func() { l.Close() })
	return l, log
}

func run(t *testing.T, s *Terminal) error {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := s.Run(ctx)
	s.Line.Log.Take()
	return err
}

func TestAScriptLogsInAndItsPasswordIsNotKept(t *testing.T) {
	t.Parallel()
	l, log := unit(t, login)
	var out, notes bytes.Buffer
	s := &Terminal{Line: l, In: strings.NewReader("admin\r\nhunter2x\necho 'ans''wer'\nshow\n"), Out: &out, Notes: &notes, Quiet: 200 * time.Millisecond}
	if err := run(t, s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"welcome admin", "answer", "psk=hunter2x"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
	if strings.Contains(log.String(), "hunter2x") || !strings.Contains(log.String(), `> "***\r"`) || !strings.Contains(log.String(), `> "admin\r"`) {
		t.Errorf("transcript\n%s", log)
	}
	if !strings.HasSuffix(strings.TrimSpace(log.String()), `"# "`) {
		t.Errorf("the last prompt is not in the transcript\n%s", log)
	}
}

// keyboard is a person: each text is typed once the unit has shown what comes
// before it.
type keyboard struct {
	t     *testing.T
	shown *screen
	steps [][2]string // seen, typed
}

func (k *keyboard) Read(b []byte) (int, error) {
	if len(k.steps) == 0 {
		time.Sleep(time.Minute) // a keyboard has no end
		return 0, io.EOF
	}
	seen, typed := k.steps[0][0], k.steps[0][1]
	k.steps = k.steps[1:]
	for end := time.Now().Add(20 * time.Second); !strings.Contains(k.shown.since(), seen); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			k.t.Errorf("%q was not shown but %q", seen, k.shown.since())
			return 0, io.EOF
		}
	}
	k.shown.mark()
	return copy(b, typed), nil
}

// screen is what a person sees.
type screen struct {
	mu   sync.Mutex
	all  strings.Builder
	from int
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(b)
}

func (s *screen) since() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()[s.from:]
}

func (s *screen) mark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from = s.all.Len()
}

func TestAPersonTypesAndLeaves(t *testing.T) {
	t.Parallel()
	l, log := unit(t, login)
	sees := &screen{}
	s := &Terminal{Line: l, Out: sees, Notes: sees, Keys: true}
	s.In = &keyboard{t, sees, [][2]string{
		{"login: ", "ad"}, {"ad", "min\r"}, {"Password: ", "hunter"}, {"", "2x\r"},
		{"welcome admin", "\x1d?"}, {"Ctrl-] q  leave", "printf '\\033[6n\\033]0;owned\\007%s\\n' do''ne\r"}, {"done", "setenv wifi_password=topsecret\r"},
		{"not found", "\x1d"}, {"", "b"}, {"not from here", "\x1d]"}, {"", "\x03\x1d\x1d"},
	}}
	if err := run(t, s); err != nil {
		t.Fatal(err)
	}
	if shown := sees.all.String(); strings.ContainsAny(shown, "\x1b\x07") || strings.Contains(shown, "owned\r\n") {
		t.Errorf("shown %q", shown)
	}
	for _, secret := range []string{"hunter", "2x", "topsecret"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("transcript holds %s\n%s", secret, log)
		}
	}
	for _, want := range []string{`> "admin\r"`, `> "***\r"`, `\x1b[6n\x1b]0;owned\a`, `> "setenv wifi_password=***"`, `\x1d`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in the transcript\n%s", want, log)
		}
	}
}

func TestAPasswordThatTheUnitEchoesIsMaskedToo(t *testing.T) {
	t.Parallel()
	l, log := unit(t, `printf 'Enter password:'; read p; echo got it; sleep 9`)
	sees := &screen{}
	s := &Terminal{Line: l, Out: sees, Notes: io.Discard, Keys: true}
	s.In = &keyboard{t, sees, [][2]string{{"password:", "sw"}, {"sw", "ordfish\r"}, {"got it", "\x1dq"}}}
	if err := run(t, s); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log.String(), "ordfish") || !strings.Contains(log.String(), `"Enter password:"`) {
		t.Errorf("transcript\n%s", log)
	}
}

func TestAUnitThatGoesEndsTheSession(t *testing.T) {
	t.Parallel()
	l, log := unit(t, "echo last words")
	var out bytes.Buffer
	sees := &screen{}
	s := &Terminal{Line: l, Out: &out, Notes: io.Discard, Keys: true, In: &keyboard{t: t, shown: sees}}
	if err := run(t, s); !errors.Is(err, line.ErrGone) {
		t.Errorf("%v", err)
	}
	if !strings.Contains(out.String(), "last words") || !strings.Contains(log.String(), "last words") {
		t.Errorf("%q\n%s", out.String(), log)
	}
}

func TestAScriptDoesNotWaitForeverForAUnitThatTalks(t *testing.T) {
	t.Parallel()
	l, log := unit(t, `while :; do echo talk; sleep 0.02; done`)
	var notes bytes.Buffer
	s := &Terminal{Line: l, In: strings.NewReader("one\ntwo"), Out: io.Discard, Notes: &notes, Quiet: time.Second, talks: 300 * time.Millisecond, after: 500 * time.Millisecond}
	if err := run(t, s); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), `> "two\r"`) || !strings.Contains(notes.String(), "still talks") {
		t.Errorf("%q\n%s", notes.String(), log)
	}
}

func TestAFullDiskAndAClosedScreenAreErrors(t *testing.T) {
	t.Parallel()
	l, _ := unit(t, "echo x; sleep 9")
	a, b := net.Pipe()
	a.Close()
	if err := run(t, &Terminal{Line: l, In: strings.NewReader(""), Out: b, Notes: io.Discard}); err == nil {
		t.Error("a screen that is gone")
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	log := line.NewTranscript(full, "")
	log.Remark("x")
	if log.Failed() == nil {
		t.Error("a transcript that cannot be written")
	}
}

func TestLinesThatWaitForAPassword(t *testing.T) {
	for text, want := range map[string]bool{
		"Password: ": true, "root's password:": true, "Enter passphrase for key '/x': ": true, "please input password:***": true,
		"Passwort: ": true, "密码：": true, "(camera) Enter secret> ": true, "=> setenv wifi_password ": true, "PIN? ": true,
		"=> ": false, "login: ": false, "# ls pin": false, "# passwd --help": false, "Login incorrect": false, "spi: probe": false,
	} {
		if got := passwordPrompt.MatchString(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
