//go:build !linux && !darwin

package ports

// Denied says what to do about a device that may not be opened.
func Denied(device string) string { return "this user may not open " + device }
