//go:build !linux && !darwin && !windows

package ports

import (
	"context"
	"fmt"
	"runtime"
)

// List cannot know the ports of this system.
func List(context.Context) ([]Port, error) {
	return nil, fmt.Errorf("serial ports: not listed on %s; look in /dev", runtime.GOOS)
}
