//go:build !windows

package terminal

import (
	"cmp"
	"os"
	"runtime"
	"strings"
)

// AllowSequences has nothing to do where terminals act on control sequences anyway.
func AllowSequences(*os.File) (undo func()) { return func() {} }

// TakesUTF8 reports whether the terminal takes UTF-8, as the locale says.
func TakesUTF8() bool {
	locale := strings.ToLower(cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_CTYPE"), os.Getenv("LANG")))
	return strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8") || locale == "" && runtime.GOOS == "darwin"
}
