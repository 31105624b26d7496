package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"assay/devices/simulator"
	"assay/devices/simulator/console"
)

func (a *app) simulate() *cobra.Command {
	var addr, flash string
	var list bool
	c := &cobra.Command{
		Use:   "simulate [NAME|FILE]...",
		Short: "Run simulated cameras on this machine, to try the program on",
		Long: `Simulate starts cameras that answer as real ones do, over HTTP, SOAP and digest
login and some over RTSP, DVRIP, SNMP, SSH, Telnet and FTP, or as a U-Boot console on a pseudo-terminal, prints where each is, and
runs until it is interrupted. A camera is a data file; a console is named
console:NAME.`,
		Example: `  assay simulate --list
  assay simulate relabelled
  assay simulate vendor-signed console:vendor-signed --flash flash.bin`,
		RunE: func(c *cobra.Command, args []string) error {
			if list {
				return a.listSimulated()
			}
			if len(args) == 0 {
				return usagef("name a camera to simulate; see: assay simulate --list")
			}
			ctx, stop := context.WithCancel(c.Context())
			defer stop()
			doc := simulateOutput{Schema: cliSchema("simulate"), Units: []simulated{}}
			var close []io.Closer
			defer func() {
				for _, x := range close {
					_ = x.Close()
				}
			}()
			for _, name := range args {
				u, closer, err := startSimulated(ctx, name, addr, flash)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				close = append(close, closer)
				doc.Units = append(doc.Units, u)
			}
			if err := a.print(doc, func(w io.Writer) {
				for _, u := range doc.Units {
					fmt.Fprintf(w, "%-24s %s%s\n", u.Name, u.Target, u.ports())
				}
			}); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		},
	}
	c.Flags().StringVar(&addr, "listen", "127.0.0.1:0", "address that the cameras listen on; port 0 is any free one")
	c.Flags().StringVar(&flash, "flash", "", "image in the first flash of a simulated console")
	c.Flags().BoolVar(&list, "list", false, "list the cameras that ship with the program")
	return c
}

type simulateOutput struct {
	Schema string      `json:"schema"`
	Units  []simulated `json:"units"`
}

type simulated struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	About  string `json:"about,omitempty"`
	// Ports are where its other sockets listen, by protocol.
	Ports map[string][]int `json:"ports,omitempty"`
}

const consolePrefix = "console:"

func startSimulated(ctx context.Context, name, addr, flash string) (simulated, io.Closer, error) {
	if unit, ok := strings.CutPrefix(name, consolePrefix); ok {
		cfg, err := console.Load(unit)
		if err != nil {
			return simulated{}, nil, usagef("%v", err)
		}
		if flash != "" {
			cfg = cfg.WithImage(flash)
		}
		s, err := console.Start(ctx, cfg)
		if err != nil {
			return simulated{}, nil, err
		}
		return simulated{Name: name, Target: "serial:" + s.Device}, s, nil
	}
	cam, err := simulator.Load(name)
	if err != nil {
		return simulated{}, nil, usagef("%v", err)
	}
	s, err := cam.Start(ctx, addr)
	if err != nil {
		return simulated{}, nil, err
	}
	return simulated{Name: name, Target: s.URL, About: cam.Description, Ports: s.Ports}, s, nil
}

// ports are the other sockets as arguments that identify takes.
func (u simulated) ports() (text string) {
	for _, protocol := range slices.Sorted(maps.Keys(u.Ports)) {
		for _, n := range u.Ports[protocol] {
			text += fmt.Sprintf(" --port %s=%d", protocol, n)
		}
	}
	return text
}

func (a *app) listSimulated() error {
	doc := simulateOutput{Schema: cliSchema("simulate")}
	var errs []error
	for _, n := range simulator.List() {
		cam, err := simulator.Load(n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		doc.Units = append(doc.Units, simulated{Name: n, About: cam.Description})
	}
	for _, n := range console.Units() {
		doc.Units = append(doc.Units, simulated{Name: consolePrefix + n, About: "a U-Boot console on a pseudo-terminal"})
	}
	slices.SortFunc(doc.Units, func(x, y simulated) int { return strings.Compare(x.Name, y.Name) })
	return errors.Join(append(errs, a.print(doc, func(w io.Writer) {
		for _, u := range doc.Units {
			paragraph(w, fmt.Sprintf("%-24s ", u.Name), u.About)
		}
	}))...)
}
