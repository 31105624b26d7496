// Package peer finds the installed programs that tests compare our readers with.
package peer

import (
	"os"
	"os/exec"
	"testing"
)

// Need returns the path of program. When it is not installed the test is
// skipped, naming the Debian package to install; where the environment says
// CI=true the test fails instead, so that a comparison cannot vanish unseen.
func Need(t testing.TB, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed: install Debian package %s", program, debianPackage)
	}
	t.Skipf("%s is not installed: install Debian package %s", program, debianPackage)
	return ""
}
