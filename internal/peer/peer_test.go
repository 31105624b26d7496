package peer

import (
	"runtime"
	"testing"
)

func TestNeedFindsAnInstalledProgram(t *testing.T) {
	if p := Need(t, "go", "golang-go"); p == "" {
		t.Fatal("no path for an installed program")
	}
}

// recorder is a testing.TB whose endings are only noted.
type recorder struct {
	testing.TB
	skipped, failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Skipf(string, ...any)  { r.skipped = true; runtime.Goexit() }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; runtime.Goexit() }

func TestAMissingProgramSkipsOnADeskAndFailsInCI(t *testing.T) {
	for _, c := range []struct {
		ci              string
		skipped, failed bool
	}{{"", true, false}, {"true", false, true}} {
		t.Setenv("CI", c.ci)
		r := &recorder{}
		done := make(chan struct{})
		go func() {
			defer close(done)
			Need(r, "no-such-program-on-any-machine", "nothing")
		}()
		<-done
		if r.skipped != c.skipped || r.failed != c.failed {
			t.Errorf("CI=%q: skipped %v, failed %v", c.ci, r.skipped, r.failed)
		}
	}
}
