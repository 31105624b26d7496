package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"assay/devices"
	"assay/devices/network"
)

// socketFlags say how the protocols with a socket of their own are asked.
type socketFlags struct {
	snmp    string
	secret  secretFlags
	privacy secretFlags
	ports   []string
}

func (f *socketFlags) add(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.snmp, "snmp", "", "ask over SNMP: public (tries that community once), community (asks for one, which is sent readable), or USER[:AUTH[:PRIV]] of version 3, as in reader:SHA256:AES")
	fl.StringVar(&f.secret.file, "snmp-secret-file", "", "read the community, or the authentication password of version 3, from this file (else $ASSAY_SNMP_SECRET, else ask)")
	fl.StringVar(&f.privacy.file, "snmp-privacy-file", "", "read the privacy password of version 3 from this file (else $ASSAY_SNMP_PRIVACY, else ask)")
	fl.StringSliceVar(&f.ports, "port", nil, "ask a protocol at this port, and those not named not at all: rtsp=8554, also rtsps, dvrip, snmp, ssh, telnet, ftp")
	f.secret.variable, f.privacy.variable = "ASSAY_SNMP_SECRET", "ASSAY_SNMP_PRIVACY"
}

// ask is how SNMP is asked; the zero value is not at all.
func (f *socketFlags) ask() (o network.SNMP, err error) {
	read := func(s *secretFlags, prompt string) (string, error) {
		s.prompt = prompt
		b, err := s.read()
		return string(b), err
	}
	switch {
	case f.snmp == "" && f.secret.file+f.privacy.file != "":
		return o, usagef("--snmp-secret-file and --snmp-privacy-file need --snmp")
	case f.snmp == "":
		return o, nil
	case f.snmp == "public":
		return network.SNMP{Public: true}, nil
	case f.snmp == "community":
		if o.Community, err = read(&f.secret, "SNMP community"); err == nil && o.Community == "" {
			err = usagef("--snmp community: the community is empty")
		}
		return o, err
	}
	parts := strings.Split(f.snmp, ":")
	if len(parts) > 3 || slices.Contains(parts, "") {
		return o, usagef("--snmp %s: want public, community, or USER[:AUTH[:PRIV]]", f.snmp)
	}
	parts = append(parts, "", "")
	o.User, o.Auth, o.Priv = parts[0], parts[1], parts[2]
	if o.Auth != "" {
		if o.AuthPassword, err = read(&f.secret, "SNMP authentication password of "+o.User); err != nil {
			return o, err
		}
	}
	if o.Priv != "" {
		if o.PrivPassword, err = read(&f.privacy, "SNMP privacy password of "+o.User); err != nil {
			return o, err
		}
	}
	if err := o.Check(); err != nil {
		return o, usagef("--snmp: %v", err)
	}
	return o, nil
}

// at are the ports of --port by protocol, nil for the usual ones.
func (f *socketFlags) at(targets []devices.Target) (map[string][]int, error) {
	if len(f.ports) == 0 {
		return nil, nil
	}
	if !slices.ContainsFunc(targets, func(t devices.Target) bool { return t.Kind == devices.KindNetwork }) {
		return nil, usagef("--port is for a unit on the network: give its address")
	}
	at := map[string][]int{}
	for _, p := range f.ports {
		name, number, _ := strings.Cut(p, "=")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > 65535 || !slices.Contains(network.SocketSchemes(), name) {
			return nil, usagef("--port %s: want PROTOCOL=PORT, where PROTOCOL is one of %s", p, strings.Join(network.SocketSchemes(), ", "))
		}
		at[name] = append(at[name], n)
	}
	return at, nil
}
