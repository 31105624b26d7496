//go:build !unix

package console

import (
	"errors"
	"fmt"
	"os"
)

// openPty is not possible here.
func openPty() (master, slave *os.File, err error) {
	return nil, nil, fmt.Errorf("simulated console: %w: this system has no pseudo-terminals; run the simulation on Linux or macOS", errors.ErrUnsupported)
}
