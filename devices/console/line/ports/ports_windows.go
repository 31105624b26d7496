package ports

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.bug.st/serial/enumerator"
	"golang.org/x/sys/windows/registry"
)

// serialComm is where the serial drivers enter the names of their ports.
const serialComm = `HARDWARE\DEVICEMAP\SERIALCOMM`

// List returns the ports in the order of their numbers. Names are from the
// registry; what hangs on them is from the setup API, which opens none of them.
// Who uses a port, Windows does not tell.
func List(ctx context.Context) ([]Port, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, serialComm, registry.QUERY_VALUE)
	if err == registry.ErrNotExist { // no driver has entered a port since the start
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("serial ports: %s: %w", serialComm, err)
	}
	defer k.Close()
	devices, err := k.ReadValueNames(0)
	if err != nil {
		return nil, fmt.Errorf("serial ports: %s: %w", serialComm, err)
	}
	details, _ := enumerator.GetDetailedPortsList() // without them there are still the names
	var all []Port
	for _, device := range devices {
		name, _, err := k.GetStringValue(device)
		if err != nil {
			continue
		}
		p := Port{Name: printable(name), Driver: printable(strings.TrimPrefix(device, `\Device\`)), HoldersUnsure: true}
		for _, d := range details {
			if d.Name != name {
				continue
			}
			if p.What = printable(d.Product); d.IsUSB {
				p.What, p.USB = "", &USB{ID: strings.ToLower(d.VID + ":" + d.PID), Manufacturer: printable(d.Manufacturer), Product: printable(d.Product), Serial: printable(d.SerialNumber)}
			}
		}
		p.identify()
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Port) int {
		if len(a.Name) != len(b.Name) { // COM9 before COM10
			return len(a.Name) - len(b.Name)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all, nil
}
