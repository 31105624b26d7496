//go:build !(386 || amd64 || arm)

package sandbox

var legacy, legacyOpens []uintptr
