package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// request is what a child of these tests is to try.
type request struct{ Do, With string }

func TestMain(m *testing.M) {
	Main("test", func(in *Inside) error {
		var q request
		if err := json.Unmarshal(in.Request, &q); err != nil {
			return err
		}
		return try(in, q)
	})
	os.Exit(m.Run())
}

// try does what a parser that was taken over would do, and says what came of it.
func try(in *Inside, q request) error {
	say := func(err error) error {
		_, werr := fmt.Fprintf(in.Out, "%v", err)
		return werr
	}
	switch q.Do {
	case "status":
		_, err := io.WriteString(in.Out, in.Status)
		return err
	case "environment":
		_, err := io.WriteString(in.Out, strings.Join(os.Environ(), " "))
		return err
	case "open":
		_, err := os.ReadFile(q.With)
		return say(err)
	case "create":
		return say(os.WriteFile(q.With, []byte("x"), 0o600))
	case "connect":
		_, err := net.Dial("tcp", q.With)
		return say(err)
	case "udp":
		c, err := net.Dial("udp", q.With)
		if err == nil {
			_, err = c.Write([]byte("x"))
		}
		return say(err)
	case "run":
		return say(exec.Command(q.With).Run())
	case "signal":
		return say(syscall.Kill(os.Getppid(), 0))
	case "reopen": // what it was handed, to write to it
		_, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", in.Files[0].Fd()), os.O_RDWR, 0)
		if err == nil {
			return say(nil)
		}
		_, err = in.Files[0].WriteAt([]byte("x"), 0)
		return say(err)
	case "read":
		b := make([]byte, 5)
		_, err := in.Files[0].ReadAt(b, 0)
		fmt.Fprintf(in.Out, "%s ", b)
		return say(err)
	case "folder":
		if err := in.Root.MkdirAll("a/b", 0o700); err != nil {
			return say(err)
		}
		f, err := in.Root.OpenFile("a/b/c", os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return say(err)
		}
		_, err = f.Write([]byte("written"))
		return say(errors.Join(err, f.Close(), in.Root.Rename("a/b/c", "a/b/d")))
	case "allocate":
		var all [][]byte
		for range 2 << 10 {
			p := make([]byte, 1<<20)
			for i := 0; i < len(p); i += 4096 {
				p[i] = 1
			}
			all = append(all, p)
		}
		return say(fmt.Errorf("%d MiB", len(all)))
	case "spin":
		for i := 0; ; i++ {
			if i < 0 {
				runtime.Gosched()
			}
		}
	case "sleep":
		time.Sleep(time.Hour)
	case "wait": // as asked to end
		<-in.Context.Done()
		return say(in.Context.Err())
	case "panic":
		panic("taken over")
	case "flood":
		for {
			if _, err := in.Out.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
	case "fill":
		f, err := in.Root.OpenFile("big", os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return say(err)
		}
		for {
			if _, err := f.Write(make([]byte, 1<<20)); err != nil {
				return say(err)
			}
		}
	}
	return fmt.Errorf("nothing is called %q", q.Do)
}

func run(t *testing.T, c Child) (string, error) {
	t.Helper()
	c.Name = "test"
	if c.Limits == (Limits{}) {
		c.Limits = Limits{Memory: 1 << 30, CPU: 20 * time.Second}
	}
	var got []byte
	err := c.Run(t.Context(), func(r io.Reader) (err error) {
		got, err = io.ReadAll(io.LimitReader(r, 1<<20))
		return err
	})
	return string(got), err
}

func file(t *testing.T, content string) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	return f
}

func folder(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestAChildReachesNothingButWhatItIsHanded(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	secret := file(t, "secret")
	for _, c := range []request{
		{"open", "/etc/passwd"}, {"open", secret.Name()}, {"open", "/proc/self/environ"}, {"create", filepath.Join(t.TempDir(), "new")},
		{"connect", listener.Addr().String()}, {"udp", listener.Addr().String()}, {"run", "/bin/true"}, {"reopen", ""},
	} {
		for _, with := range []string{"", " with a folder"} {
			child := Child{Request: c, Files: []*os.File{file(t, "image")}}
			if with != "" {
				child.Folder = folder(t)
			}
			got, err := run(t, child)
			if err != nil || !strings.Contains(got, "permi") && !strings.Contains(got, "denied") && !strings.Contains(got, "bad file descriptor") {
				t.Errorf("%s %s%s: %q, %v", c.Do, c.With, with, got, err)
			}
		}
	}
	if _, err := os.Stat("/etc/passwd"); err != nil {
		t.Skip("there is nothing to be kept from")
	}
}

func TestAChildReadsWhatItIsHandedAndWritesIntoItsFolder(t *testing.T) {
	if got, err := run(t, Child{Request: request{"read", ""}, Files: []*os.File{file(t, "image")}}); err != nil || got != "image <nil>" {
		t.Errorf("%q, %v", got, err)
	}
	dir := folder(t)
	got, err := run(t, Child{Request: request{"folder", ""}, Folder: dir, Limits: Limits{FileSize: 1 << 20}})
	if err != nil || got != "<nil>" {
		t.Errorf("%q, %v", got, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir.Name(), "a/b/d")); err != nil || string(b) != "written" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestWhatAChildTakesTooMuchOfEndsItWithOneClearError(t *testing.T) {
	for _, c := range []struct {
		do, want string
		limits   Limits
	}{
		{"allocate", "more than the 1024 MiB of memory", Limits{Memory: 1 << 30, CPU: time.Minute}},
		{"spin", "more than the 1s of processor time", Limits{Memory: 1 << 30, CPU: time.Second}},
		{"panic", "taken over", Limits{}},
		{"nothing", "nothing is called", Limits{}},
	} {
		start := time.Now()
		got, err := run(t, Child{Request: request{c.do, ""}, Limits: c.limits})
		if !errors.Is(err, ErrStopped) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q, %v", c.do, got, err)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%s took %v", c.do, took)
		}
	}
	got, err := run(t, Child{Request: request{"fill", ""}, Folder: folder(t), Limits: Limits{FileSize: 4 << 20}})
	if !strings.Contains(got, "too large") && !errors.Is(err, ErrStopped) {
		t.Errorf("fill: %q, %v", got, err)
	}
}

func TestAChildEndsWhenItsCallerDoes(t *testing.T) {
	defer func(d time.Duration) { grace = d }(grace)
	grace = time.Second
	for _, do := range []string{"wait", "sleep", "spin", "flood"} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := Child{Name: "test", Request: request{do, ""}, Limits: Limits{Memory: 1 << 30}}.Run(ctx, func(r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if took := time.Since(start); took > grace+10*time.Second {
			t.Errorf("%s took %v", do, took)
		}
		if do != "wait" && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", do, err)
		}
	}
}

func TestAReaderThatGivesUpEndsTheChild(t *testing.T) {
	enough := errors.New("enough")
	err := Child{Name: "test", Request: request{"flood", ""}}.Run(t.Context(), func(io.Reader) error { return enough })
	if !errors.Is(err, enough) {
		t.Error(err)
	}
}

func TestAChildHasNoEnvironmentAndSaysHowItIsConfined(t *testing.T) {
	t.Setenv("ASSAY_PASSWORD", "secret")
	got, err := run(t, Child{Request: request{"environment", ""}})
	if err != nil || strings.Contains(got, "secret") || strings.Contains(got, "PATH") {
		t.Errorf("%q, %v", got, err)
	}
	got, err = run(t, Child{Request: request{"status", ""}})
	if err != nil || !strings.Contains(got, "Landlock") || !strings.HasSuffix(got, "limits") {
		t.Errorf("%q, %v", got, err)
	}
	t.Log(got)
}

func TestAProgramWithoutThatChildIsNotRunAgain(t *testing.T) {
	if err := (Child{Name: "other"}).Run(t.Context(), nil); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}
