package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"assay/attest"
	"assay/attest/collect"
	"assay/attest/entity"
	"assay/devices/network/discovery"
)

func (a *app) discover() *cobra.Command {
	var o discovery.Options
	var out string
	var all, identify bool
	var ask discovery.Identify
	var kept keeper
	c := &cobra.Command{
		Use:   "discover [NETWORK]...",
		Short: "Find the cameras of a network, and what each says of itself",
		Long: `Discover asks on every interface, over IPv4 and IPv6, in the search protocols of
cameras: WS-Discovery, SADP, DHIP, SSDP, mDNS and those of thirteen makers. It
reads the table of neighbours, and probes the addresses of the networks given
(as in 192.0.2.0/24) on the ports that cameras listen on, at a steady rate.

All answers of a unit become one row, and what they contradict each other in is
shown with both sides. Printers, computers and media servers are listed as what
they are. A unit that is not activated is reported; none is ever activated, and
nothing is changed anywhere. Use only on networks that you may examine.

With --identify each camera and recorder that was found, and what accepts
connections on the ports of cameras and does not say what it is, is asked over
HTTP, RTSP and the makers' protocols what it says without a login, as assay
identify does. A unit gets one connection at a time for it.

What a row says is the unit's word, and anyone on the network can answer in its
name: identify or certify a unit to find out who made it.

Exit codes: 0 something was found, 5 nothing answered, 1 interrupted (what was
found is printed), 2 usage.`,
		Example: `  assay discover
  assay discover --interface eth0 192.0.2.0/24
  assay discover --identify --request-rate 100 192.0.2.0/24
  assay discover --json 198.51.100.0/24 | jq -r 'select(.event=="unit").unit.addresses[0]'`,
		RunE: func(c *cobra.Command, args []string) error {
			for _, s := range args {
				n, err := parseNetwork(s)
				if err != nil {
					return err
				}
				o.Networks = append(o.Networks, n)
			}
			if o.Window < 0 || o.Rate < 0 || o.MaxPackets < 0 || o.Rate > 100_000 {
				return usagef("--window, --rate and --max-packets must not be below zero, nor --rate above 100000")
			}
			if ask.Rate < 1 || ask.Rate > 100_000 || ask.Units < 1 || ask.Units > 4096 {
				return usagef("--request-rate must be from 1 to 100000, and --units-at-once from 1 to 4096")
			}
			for _, name := range []string{"request-rate", "units-at-once"} {
				if c.Flags().Changed(name) && !identify {
					return usagef("--%s is about --identify, which was not given", name)
				}
			}
			home, err := a.home()
			if err != nil {
				return err
			}
			data, err := home.Entities()
			if err != nil {
				return err
			}
			o.Makers = makers{data}
			if identify {
				now := time.Now()
				ask.Compare = func(claims []attest.Claim, marks []attest.Mark) []attest.Contradiction {
					return collect.Contradictions(claims, marks, data, now)
				}
				o.Identify = &ask
			}
			if out != "" {
				if kept.dir, err = sessionDir(out); err != nil {
					return err
				}
				o.Keep = kept.keep
			}
			ctx, stop := context.WithCancel(c.Context())
			defer stop()
			view := a.discoverView(all, data, stop)
			o.Progress = view.progress
			summary, err := discovery.Run(ctx, o, view.unit)
			var option *discovery.OptionError
			if errors.As(err, &option) {
				return usagef("%v", option)
			}
			if summary == nil {
				return err
			}
			if perr := view.end(summary); perr != nil {
				return perr
			}
			if err == nil {
				err = kept.err
			}
			if err == nil && !view.found() {
				return verdictError(exitUnreachable)
			}
			return err
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&o.Interfaces, "interface", "i", nil, "ask on this interface only (repeatable); needed for the loopback")
	f.DurationVar(&o.Window, "window", 5*time.Second, "how long to wait for answers; units delay theirs, so 4 to 6 s is right")
	f.StringSliceVar(&o.Protocols, "protocol", nil, "ask in this protocol only (repeatable); see docs/discovery.md")
	f.IntSliceVar(&o.Ports, "ports", discovery.Ports, "TCP ports to probe on the networks given")
	f.IntVar(&o.Rate, "rate", 500, "packets a second that probing may send in all")
	f.IntVar(&o.MaxPackets, "max-packets", 200_000, "packets that probing may send at most; silent addresses of a large network are asked less")
	f.BoolVar(&o.NoDescriptions, "no-descriptions", false, "do not read UPnP descriptions")
	f.BoolVar(&identify, "identify", false, "ask each camera found who it is, over the network and without a login")
	f.IntVar(&ask.Rate, "request-rate", 500, "requests and connections a second that identifying may make in all")
	f.IntVar(&ask.Units, "units-at-once", 64, "units that are identified at once")
	f.BoolVar(&all, "all", false, "list neighbours that answered nothing, too")
	f.StringVarP(&out, "out", "o", "", "keep the raw answers in this folder, named by their SHA-256")
	return c
}

// parseNetwork reads 192.0.2.0/24, or one address.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, usagef("network %q: want an address or a network such as 192.0.2.0/24", s)
	}
	return p.Masked(), nil
}

// makers is the entity data as discovery asks it.
type makers struct{ *entity.Data }

func (m makers) Owner(mac string) (registrant, id string) {
	r, _ := m.OUI(mac)
	return r.Registrant, r.Entity
}

func (m makers) House(name string) string {
	e := m.Get(name)
	if e == nil {
		e = m.Lookup(name)
	}
	if e == nil {
		return ""
	}
	if up := m.Ancestors(e); len(up) > 0 {
		return up[len(up)-1].ID
	}
	return e.ID
}

// keeper writes each raw answer once, under its SHA-256.
type keeper struct {
	dir  string
	mu   sync.Mutex
	size int
	err  error
}

// maxKept bounds what strangers on a network can write to our disk.
const maxKept = 256 << 20

func (k *keeper) keep(d attest.Digest, _ string, raw []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return
	}
	if k.size += len(raw); k.size > maxKept {
		k.err = fmt.Errorf("--out: more than %s of raw answers came: the rest was not kept", size(maxKept))
		return
	}
	if err := os.WriteFile(filepath.Join(k.dir, d.Hex()), raw, 0o600); err != nil {
		k.err = fmt.Errorf("--out: %w", err)
	}
}

// discoverView shows rows while they are found and when all are.
type discoverView interface {
	unit(discovery.Unit)
	progress(discovery.Progress)
	end(*discovery.Summary) error
	found() bool
}

// discoverView returns the view that fits where the output goes. stop ends the
// run when nobody reads it any more.
func (a *app) discoverView(all bool, data *entity.Data, stop func()) discoverView {
	rows := &discoverRows{all: all, whole: a.verbose && !a.json, data: data, units: map[int]discovery.Unit{}}
	if a.json {
		return &jsonView{discoverRows: rows, app: a, stop: stop}
	}
	v := &textView{discoverRows: rows, out: a.out, verbose: a.verbose}
	if f, ok := a.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		v.terminal = f
	} else if term.IsTerminal(int(os.Stderr.Fd())) {
		v.status = os.Stderr
	}
	return v
}

// discoverRows are the rows as they were last given.
type discoverRows struct {
	all   bool
	whole bool // claims and marks are shown at the end
	data  *entity.Data
	units map[int]discovery.Unit
}

func (r *discoverRows) take(u discovery.Unit) {
	for _, id := range u.Replaces {
		delete(r.units, id)
	}
	if !r.whole {
		u.Claims, u.Marks = nil, nil
	}
	r.units[u.ID] = u
}

// found reports whether anything answered, beside the table of neighbours.
func (r *discoverRows) found() bool {
	for _, u := range r.units {
		if u.Kind != discovery.KindNeighbour || r.ofMaker(u) {
			return true
		}
	}
	return false
}

// ofMaker reports whether a silent neighbour's MAC is of a maker of cameras.
func (r *discoverRows) ofMaker(u discovery.Unit) bool {
	for _, m := range u.MACs {
		if e := r.data.Get(m.Entity); e != nil && e.Role == "maker" {
			return true
		}
	}
	return false
}

// jsonView streams one document a line.
type jsonView struct {
	*discoverRows
	app  *app
	stop func()
	last time.Time
	err  error
}

type discoverOutput struct {
	Schema   string             `json:"schema"`
	Event    string             `json:"event"` // "unit", "progress", "end"
	Unit     *discovery.Unit    `json:"unit,omitempty"`
	Progress *discoverProgress  `json:"progress,omitempty"`
	Summary  *discovery.Summary `json:"summary,omitempty"`
}

// discoverProgress is how far a run is; times are in seconds.
type discoverProgress struct {
	Stage   string  `json:"stage"` // "listening", "probing", "identifying"
	Elapsed float64 `json:"elapsed"`
	Left    float64 `json:"left"`
	Sent    int     `json:"sent"`    // packets
	Answers int     `json:"answers"` // datagrams
	Units   int     `json:"units"`   // rows
	Probed  int     `json:"probed"`  // addresses
	Hosts   int     `json:"hosts"`   // addresses to probe
	PerSec  float64 `json:"perSecond"`

	Identified int `json:"identified,omitempty"` // units that were asked
	ToIdentify int `json:"toIdentify,omitempty"` // in all, so far
}

func (v *jsonView) write(d discoverOutput) {
	d.Schema = cliSchema("discover")
	v.app.printed = true
	enc := json.NewEncoder(v.app.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(d); err != nil && v.err == nil {
		v.err = fmt.Errorf("output: %w", err)
		v.stop()
	}
}

func (v *jsonView) unit(u discovery.Unit) {
	v.take(u)
	if v.all || u.Kind != discovery.KindNeighbour || v.ofMaker(u) {
		v.write(discoverOutput{Event: "unit", Unit: &u})
	}
}

func (v *jsonView) progress(p discovery.Progress) {
	if time.Since(v.last) >= time.Second {
		v.last = time.Now()
		v.write(discoverOutput{Event: "progress", Progress: &discoverProgress{
			p.Stage, p.Elapsed.Seconds(), p.Left.Seconds(), p.Sent, p.Answers, p.Units, p.Probed, p.Hosts, p.PerSec, p.Identified, p.ToIdentify,
		}})
	}
}

func (v *jsonView) end(s *discovery.Summary) error {
	v.write(discoverOutput{Event: "end", Summary: s})
	return v.err
}
