package network_test

import (
	"context"
	"fmt"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/network"
	"assay/devices/simulator"
)

// printer is a sink that prints marks and problems.
type printer struct{}

func (printer) Artefact(_, _ string, raw []byte) attest.Digest { return attest.DigestOf(raw) }
func (printer) Claim(attest.Claim) string                      { return "" }
func (printer) Mark(m attest.Mark) string {
	fmt.Println(m.Strength, m.Entity, m.Rule)
	return ""
}
func (printer) Problem(kind attest.ProblemKind, source, says string) { fmt.Println(kind, source, says) }

// A camera whose labels all say Northgate Security, without a login.
func Example() {
	camera, err := simulator.Load("relabelled")
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := camera.Start(context.Background(), "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	target, err := devices.ParseTarget(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	unit := network.Open(target, network.Options{Pace: time.Millisecond})
	defer unit.Close()
	if err := unit.Identify(context.Background(), printer{}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// c1 hikvision hikvision-realm
	// c1 hikvision hikvision-server
	// c2 hikvision hikvision-two-tells
	// incomplete network isapi /ISAPI/System/deviceInfo, onvif GetDeviceInformation, onvif GetNetworkInterfaces: need a login, and none was given
}
