// Package town is a network of many simulated units on addresses of the loopback:
// cameras of several makers, relabelled ones, copycats, and what is no camera, in
// shares that a data file gives. Each says over HTTP, RTSP and the search protocols
// what its kind says, with a serial number and MAC address of its own, and counts
// who connects to it. It is what the benchmarks of discovery look at.
package town

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"

	"assay/devices/simulator"
	"assay/devices/simulator/discovery"
)

//go:embed kinds.yaml
var kindsFile []byte

//go:embed search.yaml
var searchFile []byte

// Kind is one kind of unit.
type Kind struct {
	Name   string            `yaml:"name"`
	Share  int               `yaml:"share"`  // of a hundred
	Camera string            `yaml:"camera"` // of package simulator
	Search []string          `yaml:"search"`
	Maker  string            `yaml:"maker"` // who made it, by the id in the entity data
	Label  string            `yaml:"label"` // what it is sold as, where that is another
	Other  bool              `yaml:"other"` // no camera
	Fields map[string]string `yaml:"fields"`
	// Written is a camera of its own, in place of Camera.
	Written yaml.Node `yaml:"written"`
}

// Resident is one unit.
type Resident struct {
	*Kind
	N    int
	Addr netip.Addr
}

// Residents are n units from an address on, the same in each call. Kinds are
// mixed, so that any part of a town has nearly its shares.
func Residents(first netip.Addr, n int) ([]Resident, error) {
	var kinds []*Kind
	if err := yaml.Unmarshal(kindsFile, &kinds); err != nil {
		return nil, fmt.Errorf("town: %w", err)
	}
	var hundred []*Kind
	for _, k := range kinds {
		for range k.Share {
			hundred = append(hundred, k)
		}
	}
	if len(hundred) != 100 {
		return nil, fmt.Errorf("town: the shares add up to %d", len(hundred))
	}
	var all []Resident
	for i := range n {
		all = append(all, Resident{hundred[i*37%100], i + 1, first})
		first = first.Next()
	}
	return all, nil
}

// Town is units that run.
type Town struct {
	residents []Resident
	servers   []*simulator.Server
	fleet     *discovery.Fleet
}

// Start runs units at the usual ports of their addresses until Close or the end of
// ctx.
func Start(ctx context.Context, residents []Resident) (*Town, error) {
	var answers map[string][]discovery.Answer
	if err := yaml.Unmarshal(searchFile, &answers); err != nil {
		return nil, fmt.Errorf("town: %w", err)
	}
	t := &Town{residents: residents}
	var placed []*discovery.Placed
	for _, r := range residents {
		c, err := r.camera()
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		port := 80
		if c.TLS != nil {
			port = 443
		}
		s, err := c.Start(ctx, netip.AddrPortFrom(r.Addr, uint16(port)).String())
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		t.servers = append(t.servers, s)
		if p := r.placed(answers); p != nil {
			placed = append(placed, p)
		}
	}
	var err error
	if t.fleet, err = discovery.Start(ctx, "", placed...); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (r Resident) camera() (*simulator.Camera, error) {
	if r.Camera != "" {
		return simulator.Numbered(r.Camera, r.N)
	}
	b, err := yaml.Marshal(&r.Written)
	if err != nil {
		return nil, fmt.Errorf("town: %s: %w", r.Name, err)
	}
	return simulator.ParseNumbered(b, r.N)
}

// placed is the unit as the search protocols see it, or nil for one that they do
// not.
func (r Resident) placed(answers map[string][]discovery.Answer) *discovery.Placed {
	if len(r.Search) == 0 {
		return nil
	}
	u := &discovery.Unit{Name: r.Name, Fields: map[string]string{}}
	for k, v := range r.Fields {
		u.Fields[k] = strings.ReplaceAll(v, "{n5}", fmt.Sprintf("%05d", r.N%100_000))
	}
	for _, s := range r.Search {
		u.Answers = append(u.Answers, answers[s]...)
	}
	return &discovery.Placed{Unit: u, N: r.N, Addr: r.Addr}
}

// Close stops the units.
func (t *Town) Close() error {
	var errs []error
	if t.fleet != nil {
		errs = append(errs, t.fleet.Close())
	}
	for _, s := range t.servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Visits is what came to the units since they were started.
type Visits struct {
	Connections int `json:"connections"`
	Most        int `json:"most"`     // connections that a unit had open at once, of the unit that had most
	Over        int `json:"over"`     // units that had more than two
	Requests    int `json:"requests"` // over HTTP and sockets
	Writes      int `json:"writes"`   // of them, those that are not known to read only
	Logins      int `json:"logins"`
	Questions   int `json:"questions"` // of search protocols
}

// Visits counts.
func (t *Town) Visits() Visits {
	var v Visits
	for _, s := range t.servers {
		all, most := s.Connections()
		v.Connections += all
		v.Most = max(v.Most, most)
		if most > 2 {
			v.Over++
		}
		v.Requests += len(s.Log())
		v.Writes += len(s.Writes())
		v.Logins += len(s.Logins())
	}
	for _, n := range t.fleet.Asked() {
		v.Questions += n
	}
	return v
}
