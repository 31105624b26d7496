package register

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assay/attest"
)

// crashFolder tells the child process which register to add to.
const crashFolder = "ASSAY_TEST_CRASH_REGISTER"

// TestAddUntilKilled is the child of the test below: it prints the id of each
// permit when Add has returned.
func TestAddUntilKilled(t *testing.T) {
	dir := os.Getenv(crashFolder)
	if dir == "" {
		t.Skip("is a part of the test with kills")
	}
	r, err := Open(t.Context(), dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	for b := newBench(t); ; {
		id, err := r.Add(t.Context(), b.entry(t, rand.Int()))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		fmt.Println(id)
	}
}

// TestNoRegisteredPermitIsLostWhenTheProgramIsKilled kills the program, not the
// machine: what the operating system had not yet written is not put to the
// test.
func TestNoRegisteredPermitIsLostWhenTheProgramIsKilled(t *testing.T) {
	const kills = 25
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	printed := map[string]bool{}
	crashes := 0
	for n := range kills {
		// Every fifth is killed early, when it may still be opening the register.
		life := time.Duration(random.IntN(100)) * time.Millisecond
		for _, id := range killedAfter(t, dir, life, n%5 != 0) {
			printed[id] = true
		}
		r := openAt(t, dir)
		if found := r.Recovery(); found != nil {
			crashes++
			if len(found.Missing) > 0 {
				t.Errorf("permits without their evidence: %v", found.Missing)
			}
		}
		r.Close()
	}
	r := openAt(t, dir)
	if err := r.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	records, err := r.List(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range records {
		g, err := r.Get(t.Context(), record.ID)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, a := range g.Artefacts {
			if err := r.Artefact(t.Context(), a.Digest, io.Discard); err != nil {
				t.Error(err)
			}
		}
		delete(printed, record.ID)
	}
	for id := range printed {
		t.Errorf("permit %s was registered and is gone", id)
	}
	if len(records) == 0 || crashes == 0 {
		t.Fatalf("%d permits, %d crashes: nothing was put to the test", len(records), crashes)
	}
	found, err := r.Recover(t.Context())
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d kills, %d found a register left open, %d permits all there, %d blobs of permits cut short", kills, crashes, len(records), found.Orphans)
}

// killedAfter runs the program, kills it a time after its start or its first
// permit, and returns the ids that it printed whole.
func killedAfter(t *testing.T, dir string, life time.Duration, fromFirst bool) []string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, "-test.run=^TestAddUntilKilled$")
	c.Env = append(os.Environ(), crashFolder+"="+dir)
	var complaints bytes.Buffer
	c.Stderr = &complaints
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(time.Minute, func() { c.Process.Kill() })
	defer kill.Stop()
	if !fromFirst {
		kill.Reset(life)
	}
	var ids []string
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		if ids = append(ids, strings.TrimSpace(line)); fromFirst && len(ids) == 1 {
			kill.Reset(life)
		}
	}
	c.Wait() // killed, as it should be
	if complaints.Len() > 0 {
		t.Errorf("the program stopped by itself: %s", complaints.String())
	}
	return ids
}

func TestWhatACrashLeavesBehindIsReportedAndKept(t *testing.T) {
	dir := t.TempDir()
	b, r := newBench(t), openAt(t, dir)
	e := b.entry(t, 1)
	failing := e
	failing.Artefacts = map[attest.Digest]io.Reader{}
	for d, a := range e.Artefacts {
		failing.Artefacts[d] = a
	}
	answer := attest.DigestOf([]byte("serialNumber=1"))
	failing.Artefacts[answer] = broken{}
	if _, err := r.Add(t.Context(), failing); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	old := filepath.Join(r.blobs.dir, ".assay-1")
	os.WriteFile(old, []byte("half"), 0o600)
	os.Chtimes(old, time.Time{}, time.Now().Add(-48*time.Hour))
	os.WriteFile(filepath.Join(r.blobs.dir, ".assay-2"), []byte("half"), 0o600)
	f, err := r.Recover(t.Context())
	if err != nil || f.Orphans != 1 || f.OrphanBytes != int64(len(b.shout)) || f.Unfinished != 1 || len(f.Missing) != 0 {
		t.Errorf("%+v, %v", f, err)
	}
	e = b.entry(t, 1)
	if _, err := r.Add(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if f, _ := r.Recover(t.Context()); f.Orphans != 0 {
		t.Errorf("after the permit was added: %+v", f)
	}
}

var errBroken = errors.New("the cable came off")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }
