//go:build !unix

package console

import "time"

func cpuTime() time.Duration { return 0 }
