package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"assay/attest"
	"assay/devices/simulator"
	"assay/devices/simulator/console"
)

func TestMain(m *testing.M) {
	testscript.Main(cleaned{m}, map[string]func(){"assay": main, "peak": peak, "town": townProgram})
}

// TestScript runs the stories in testdata/script, which are the contract of the
// command line. Beside testscript's own, they have these commands:
//
//	exits CODE PROGRAM [ARGS...]       run it; the exit code is exactly this
//	json FILE PATH [VALUE]             FILE (or stdout) is one JSON document with this field (see jsonpath_test.go)
//	value NAME FILE PATH               $NAME is the first value of this field
//	camera NAME                        start a simulated camera; its URL is $NAME, its host and port $NAME_ADDR,
//	                                   and an argument for --port for each of its sockets, as in $NAME_RTSP
//	console NAME [IMAGE]               start a simulated serial console; its target is $CONSOLE
//	powered NAME IMAGE                 the same, switched off: the program relay switches it on, the program broken fails
//	served NAME                        the same behind a console server; its target is $SERVED
//	logins NAME SENT REFUSED           how many logins the camera got, and how many of them were wrong
//	responders FIRST NAME...           start units that answer search protocols, from this address on
//	closed-port                        $CLOSED is an address where nothing listens
//	gunzip FROM TO                     unpack a fixture
//	flip FILE OFFSET                   change the lowest bit of one byte
//	change FROM TO OLD NEW             copy a text file with one word replaced
//	same FILE1 FILE2                   the same bytes
//	artefact FOLDER DIGEST FILE        the artefact of that digest in a session's folder is these bytes
//	sleep DURATION                     for a permit to expire
//	absent SECRET PATH...              no file there holds the secret, plain or as HTTP basic sends it
func TestScript(t *testing.T) {
	demo, err := filepath.Abs("../../testdata/demo")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Values[unitsKey{}] = units{}
			e.Setenv("DEMO", demo)
			e.Setenv("ASSAY_HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("ASSAY_PASSPHRASE", "correct horse")
			e.Setenv("SCHEMA", "https://assay.example/cli")
			return os.CopyFS(filepath.Join(e.WorkDir, "home", "data"), only{os.DirFS(demo), "fjordlens.yaml"})
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":       exits,
			"json":        jsonField,
			"value":       jsonValue,
			"camera":      startCamera,
			"console":     startConsole,
			"powered":     startPowered,
			"served":      startServed,
			"logins":      logins,
			"closed-port": closedPort,
			"responders":  startResponders,
			"gunzip":      gunzip,
			"flip":        flip,
			"change":      change,
			"same":        same,
			"artefact":    artefact,
			"sleep":       sleep,
			"absent":      absent,
		},
	})
}

// only is a file system with a single file of another.
type only struct {
	fs.FS
	name string
}

func (o only) ReadDir(string) ([]fs.DirEntry, error) {
	entry, err := fs.Stat(o.FS, o.name)
	if err != nil {
		return nil, err
	}
	return []fs.DirEntry{fs.FileInfoToDirEntry(entry)}, nil
}

// units are the simulated cameras that a script started.
type units map[string]*simulator.Server

type unitsKey struct{}

func usage(ts *testscript.TestScript, neg, ok bool, how string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", how)
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "exits CODE PROGRAM [ARGS...]")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, expected %d", got, want)
	}
}

func startCamera(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "camera NAME")
	cam, err := simulator.Load(args[0])
	ts.Check(err)
	s, err := cam.Start(context.Background(), "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { s.Close() })
	ts.Value(unitsKey{}).(units)[args[0]] = s
	variable := strings.ToUpper(strings.ReplaceAll(args[0], "-", "_"))
	ts.Setenv(variable, s.URL)
	ts.Setenv(variable+"_ADDR", s.Addr)
	for protocol, ports := range s.Ports {
		ts.Setenv(variable+"_"+strings.ToUpper(protocol), protocol+"="+strconv.Itoa(ports[0]))
	}
}

func startConsole(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1 || len(args) == 2, "console NAME [IMAGE]")
	cfg, err := console.Load(args[0])
	ts.Check(err)
	if len(args) == 2 {
		cfg = cfg.WithImage(ts.MkAbs(args[1]))
	}
	s, err := console.Start(context.Background(), cfg)
	ts.Check(err)
	ts.Defer(func() { s.Close() })
	ts.Setenv("CONSOLE", "serial:"+s.Device)
}

// startPowered starts a simulated console that is off. What the program relay is
// called with is in relay.log; called with on it takes two seconds to end, which is
// longer than the unit counts down.
func startPowered(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "powered NAME IMAGE")
	cfg, err := console.Load(args[0])
	ts.Check(err)
	cfg = cfg.WithImage(ts.MkAbs(args[1]))
	cfg.Start, cfg.Boot.Seconds = console.StateOff, 1
	s, err := console.Start(context.Background(), cfg)
	ts.Check(err)
	ts.Defer(func() { s.Close() })
	dir := ts.MkAbs(".")
	program := func(name, text string) {
		ts.Check(os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\ncd "+dir+"\necho \"$@\" >>"+name+".log\n"+text), 0o700))
	}
	program("relay", `for last; do :; done; echo "relay is $last"; [ $last = off ] || { touch powered; sleep 2; }`)
	program("broken", "echo no such outlet; exit 1")
	ts.Setenv("PATH", dir+string(os.PathListSeparator)+ts.Getenv("PATH"))
	ts.Setenv("CONSOLE", "serial:"+s.Device)
	done := make(chan struct{})
	ts.Defer(func() { close(done) })
	go func() {
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if os.Remove(filepath.Join(dir, "powered")) == nil {
				s.PowerCycle(context.Background())
			}
		}
	}()
}

// startServed puts a simulated console behind a TCP port, for one client at a time.
func startServed(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "served NAME")
	cfg, err := console.Load(args[0])
	ts.Check(err)
	cfg.Baud = 0 // the rate is between the server and the unit
	s, err := console.Start(context.Background(), cfg)
	ts.Check(err)
	ts.Defer(func() { s.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			device, err := os.OpenFile(s.Device, os.O_RDWR|syscall.O_NOCTTY, 0)
			if err == nil {
				go func() { io.Copy(c, device); c.Close() }()
				io.Copy(device, c)
				device.Close()
			}
			c.Close()
		}
	}()
	ts.Setenv("SERVED", "serial:tcp://"+l.Addr().String())
}

func logins(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 3, "logins NAME SENT REFUSED")
	s := ts.Value(unitsKey{}).(units)[args[0]]
	if s == nil {
		ts.Fatalf("camera %s was not started", args[0])
	}
	if sent, refused := strconv.Itoa(len(s.Logins())), strconv.Itoa(s.Refused()); sent != args[1] || refused != args[2] {
		ts.Fatalf("%s logins sent and %s refused, expected %s and %s: %+v", sent, refused, args[1], args[2], s.Logins())
	}
}

func closedPort(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 0, "closed-port")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv("CLOSED", l.Addr().String())
	ts.Check(l.Close())
}

func gunzip(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "gunzip FROM TO")
	b, err := unpacked(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o600))
}

func unpacked(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func flip(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "flip FILE OFFSET")
	offset, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	if offset >= int64(len(b)) {
		ts.Fatalf("%s has no byte %#x", args[0], offset)
	}
	b[offset] ^= 1
	ts.Check(os.WriteFile(path, b, 0o600))
}

func change(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 4, "change FROM TO OLD NEW")
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[2]) {
		ts.Fatalf("%s does not hold %q", args[0], args[2])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(strings.Replace(text, args[2], args[3], 1)), 0o600))
}

func same(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "same FILE1 FILE2")
	a, b := ts.ReadFile(args[0]), ts.ReadFile(args[1])
	if at := difference(a, b); at >= 0 {
		ts.Fatalf("%s of %d bytes and %s of %d differ at %#x", args[0], len(a), args[1], len(b), at)
	}
}

// difference is where two texts differ, or -1.
func difference(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	return -1
}

func artefact(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 3, "artefact FOLDER DIGEST FILE")
	same(ts, neg, []string{filepath.Join(args[0], "artefacts", attest.Digest(args[1]).Hex()), args[2]})
}

func sleep(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "sleep DURATION")
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	time.Sleep(d)
}

func absent(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "absent SECRET PATH...")
	secret := []byte(args[0])
	// The three alignments of a secret in base64, less the characters that
	// its neighbours have a part in.
	forms := [][]byte{secret}
	for skip := range 3 {
		e := base64.StdEncoding.EncodeToString(append(make([]byte, skip), secret...))
		forms = append(forms, bytes.TrimRight([]byte(e[4*((skip+2)/3):len(e)-4]), "="))
	}
	for _, root := range args[1:] {
		files := 0
		ts.Check(filepath.WalkDir(ts.MkAbs(root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			for _, f := range forms {
				if bytes.Contains(b, f) {
					ts.Fatalf("%s holds the secret as %q", path, f)
				}
			}
			return nil
		}))
		if files == 0 {
			ts.Fatalf("%s has no files to look at", root)
		}
	}
}
