//go:build !linux

package discovery

import (
	"context"
	"os/exec"
	"runtime"
	"time"
)

// neighbourTable asks the system's own program arp, which is there on Windows,
// macOS and the BSDs.
func neighbourTable() ([]neighbour, error) {
	args := []string{"-an"}
	if runtime.GOOS == "windows" {
		args = []string{"-a"}
	}
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	out, err := exec.CommandContext(ctx, "arp", args...).Output()
	if err != nil {
		return nil, err
	}
	return parseARP(string(out)), nil
}
