//go:build !linux

package simulator

import "net"

func established(net.Conn) bool { return true }
