package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"assay/devices/console/line/ports"
)

func (a *app) ports() *cobra.Command {
	return &cobra.Command{
		Use:   "ports",
		Short: "List the serial ports of this machine, and who uses them",
		Long: `Ports lists the serial ports of this machine with what hangs on each: the
adapter's chip, USB ids, serial number and socket, the names under which it can
be found again after it was plugged in elsewhere, who has it open, and what to
do where this user may not open it. No port is opened: that would raise its
modem lines and take bytes from whoever reads it.

A target names a port as in serial:/dev/ttyUSB0. A port of a console server is
not listed; it is named by its address, as in serial:rfc2217://192.0.2.20:3001.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := ports.List(c.Context())
			if err != nil {
				return err
			}
			if all == nil {
				all = []ports.Port{}
			}
			return a.print(portsOutput{cliSchema("ports"), all}, func(w io.Writer) { printPorts(w, all) })
		},
	}
}

type portsOutput struct {
	Schema string       `json:"schema"`
	Ports  []ports.Port `json:"ports"`
}

func printPorts(w io.Writer, all []ports.Port) {
	if len(all) == 0 {
		paragraph(w, "", "This machine has no serial port. Plug an adapter in and ask again; where it does not show, its driver is missing (on Linux `dmesg` says, on Windows the Device Manager).")
		return
	}
	name, serial := len("PORT"), len("SERIAL")
	for _, p := range all {
		name = max(name, len(p.Name))
		if p.USB != nil {
			serial = min(max(serial, len([]rune(p.USB.Serial))), 16)
		}
	}
	row := fmt.Sprintf("%%-%ds  %%-6s  %%-%ds  ", name, serial)
	fmt.Fprintf(w, row+"%s\n", "PORT", "STATE", "SERIAL", "WHAT HANGS ON IT")
	indent := strings.Repeat(" ", name+2)
	for _, p := range all {
		number := "-"
		if p.USB != nil {
			if number = p.USB.Serial; number == "" {
				number = "none"
			}
		}
		paragraph(w, fmt.Sprintf(row, p.Name, portState(p), number), portWords(p))
		for _, alias := range p.Aliases {
			fmt.Fprintf(w, "%s= %s\n", indent, alias) // never cut: it is there to be copied
		}
		for _, h := range p.Holders {
			how := h.By
			switch how {
			case "open":
				how = "has it open"
			case "lock":
				how = "holds its lock"
			default:
				how = "by its lock file " + how
			}
			paragraph(w, indent+"! ", strings.TrimSpace(fmt.Sprintf("%s process %d %s", h.Program, h.PID, how)))
		}
		if p.Denied != "" {
			paragraph(w, indent+"! ", p.Denied)
		}
		if p.Adapter != nil {
			for _, t := range p.Adapter.Traps {
				paragraph(w, indent+"! ", t)
			}
		}
	}
	if unsure(all) {
		fmt.Fprintln(w)
		paragraph(w, "", "free? means: no holder seen, but this user may not look at every process.")
	}
}

func unsure(all []ports.Port) bool {
	for _, p := range all {
		if portState(p) == "free?" {
			return true
		}
	}
	return false
}

func portState(p ports.Port) string {
	switch {
	case len(p.Holders) > 0:
		return "in use"
	case p.Denied != "":
		return "denied"
	case p.HoldersUnsure:
		return "free?"
	}
	return "free"
}

func portWords(p ports.Port) string {
	var words []string
	add := func(format string, value string) {
		if value != "" {
			words = append(words, fmt.Sprintf(format, value))
		}
	}
	add("%s", p.What)
	if a := p.Adapter; a != nil {
		add("%s", a.Chip+" by "+a.Maker)
	} else if p.USB != nil {
		add("%s", strings.TrimSpace(p.USB.Manufacturer+" "+p.USB.Product))
	}
	if u := p.USB; u != nil {
		add("USB %s", u.ID)
		add("interface %s", strings.TrimLeft(u.Interface, "0"))
		add("socket %s", u.Path)
	}
	add("driver %s", p.Driver)
	return strings.Join(words, ", ")
}
