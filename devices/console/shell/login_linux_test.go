package shell

import (
	"bufio"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"assay/devices"
	"assay/devices/console/line"
	"assay/internal/peer"
)

// talk is a unit that follows a script: what it says, and what it hears up to
// Enter, which it echoes as a terminal does where it is told to.
func talk(t *testing.T, script func(say func(string), hear func(echo bool) string)) io.ReadWriteCloser {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close() })
	in := make(chan byte, 1<<16)
	go func() { // a unit takes what is typed whether it looks at it or not
		defer close(in)
		for r := bufio.NewReader(near); ; {
			c, err := r.ReadByte()
			if err != nil {
				return
			}
			select {
			case in <- c:
			default:
			}
		}
	}()
	say := func(s string) {
		if _, err := io.WriteString(near, s); err != nil {
			runtime.Goexit()
		}
	}
	hear := func(echo bool) string {
		var typed []byte
		for {
			c, ok := <-in
			if !ok {
				runtime.Goexit()
			}
			if c == '\r' {
				return string(typed)
			}
			if c >= ' ' {
				typed = append(typed, c)
				if echo {
					say(string(c))
				}
			}
		}
	}
	go script(say, hear)
	return far
}

func lineTo(t *testing.T, far io.ReadWriteCloser, secret string) (*line.Line, *line.Transcript) {
	t.Helper()
	log := line.NewTranscript(nil, secret)
	l := line.New("serial:test", far, log)
	l.SetBaud(115200)
	t.Cleanup(func() { l.Close() })
	return l, log
}

const quick = 60 * time.Millisecond

func TestALoginThatIsPrintedOverIsMadeWithOneAttempt(t *testing.T) {
	t.Parallel()
	heard := make(chan string, 8)
	unit := talk(t, func(say func(string), hear func(bool) string) {
		hear(true) // Enter
		say("\r\nIngenic-uc1_1 login: 1970-01-01 08:00:03.816 [main] DEBUG start\r\n")
		hear(true)
		say("\r\nIngenic-uc1_1 login: ")
		heard <- hear(true)
		say("\r\nPassword: ")
		heard <- hear(false)
		say("\r\nLast login: Mon Jan  1 00:00:00 on ttyS0\r\n[root@cam:~]# ")
		for range 2 {
			hear(true)
			say("\r\n[root@cam:~]# ")
		}
	})
	l, log := lineTo(t, unit, "s3cret")
	account := devices.NewAccount("root", "s3cret")
	prompt, err := Login(within(t, 20*time.Second), l, Options{Quiet: quick, Account: account})
	if err != nil || prompt != "[root@cam:~]# " {
		t.Fatalf("%q, %v\n%s", prompt, err, log.Take())
	}
	if user, password := <-heard, <-heard; user != "root" || password != "s3cret" {
		t.Errorf("%q, %q", user, password)
	}
	if strings.Contains(string(log.Take()), "s3cret") {
		t.Error("the password is in the transcript")
	}
}

func TestAWrongPasswordIsOneClearErrorAfterOneAttempt(t *testing.T) {
	t.Parallel()
	attempts := make(chan string, 8)
	unit := talk(t, func(say func(string), hear func(bool) string) {
		for {
			hear(true)
			say("\r\ncamera login: ")
			hear(true)
			say("\r\nPassword: ")
			attempts <- hear(false)
			say("\r\nLogin incorrect\r\ncamera login: ")
		}
	})
	l, _ := lineTo(t, unit, "")
	account := devices.NewAccount("root", "wrong")
	_, err := Login(within(t, 20*time.Second), l, Options{Quiet: quick, Account: account})
	if !errors.Is(err, devices.ErrAccess) || !strings.Contains(err.Error(), "refused") {
		t.Fatalf("%v", err)
	}
	if _, err := Login(within(t, 20*time.Second), l, Options{Quiet: quick, Account: account}); !errors.Is(err, devices.ErrAccess) {
		t.Fatalf("the second time: %v", err)
	}
	if len(attempts) != 1 || account.Refused() == "" {
		t.Errorf("%d attempts, refused by %q", len(attempts), account.Refused())
	}
}

func TestARealLoginIsMadeAndAShellFollows(t *testing.T) {
	t.Parallel()
	getty := peer.Need(t, "busybox", "busybox")
	c := newCamera(t, random(64<<10), parts(64<<10)...)
	c.program = []string{getty, "ash", "-c", `printf '\r\nPlease press Enter to activate this console. '; read x; printf 'cam login: '; read u; printf 'Password: '; stty -echo 2>/dev/null; read p; [ "$p" = pw ] || { echo; echo Login incorrect; exec sleep 100; }; stty echo; echo; exec busybox ash -i`}
	c.applets = append(c.applets, "stty", "busybox")
	far := c.console(t)
	l, log := lineTo(t, far, "pw")
	p := New(l, Options{Account: devices.NewAccount("root", "pw"), Root: c.root, Quiet: quick})
	sink := &kept{}
	if err := p.Identify(within(t, time.Minute), sink); err != nil {
		t.Fatalf("%v\n%s", err, log.Take())
	}
	sink.wants(t, [][3]string{{"firmware", "console-lock", "login as root"}})
	if p.prompt != "~ # " || len(p.Banks()) != 1 {
		t.Errorf("prompt %q, banks %v", p.prompt, p.Banks())
	}
}

func TestALoginPromptWithoutAnAccountSaysWhatToGive(t *testing.T) {
	t.Parallel()
	unit := talk(t, func(say func(string), hear func(bool) string) {
		for {
			hear(true)
			say("\r\ncamera login: ")
		}
	})
	l, _ := lineTo(t, unit, "")
	if _, err := Login(within(t, 20*time.Second), l, Options{Quiet: quick}); !errors.Is(err, devices.ErrAccess) || !strings.Contains(err.Error(), "none is guessed") {
		t.Fatalf("%v", err)
	}
}
