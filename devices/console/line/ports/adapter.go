package ports

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Adapter is what is known of a USB serial adapter by its ids.
type Adapter struct {
	Chip  string   `json:"chip"`
	Maker string   `json:"maker"`
	Traps []string `json:"traps,omitempty"` // what to know before trusting a cable with it
}

//go:embed adapters.yaml
var adapterData []byte

type adapterEntry struct {
	Chip     string    `yaml:"chip"`
	Maker    string    `yaml:"maker"`
	IDs      []string  `yaml:"ids"`
	Source   string    `yaml:"source"`
	Traps    []trap    `yaml:"traps"`
	Examples []example `yaml:"examples"`
}

// trap holds for all of its adapter's ids, or only where the serial number or the
// operating system is as it says.
type trap struct {
	Serial string `yaml:"serial"` // "none", or a number that many have
	System string `yaml:"system"` // as in runtime.GOOS
	Says   string `yaml:"says"`
	Source string `yaml:"source"`
}

type example struct {
	ID     string `yaml:"id"`
	Serial string `yaml:"serial"`
	System string `yaml:"system"` // linux when empty
	Traps  int    `yaml:"traps"`
}

var adapterID = regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{4}$`)

// adapters are the entries by their ids.
var adapters = sync.OnceValue(func() map[string]*adapterEntry {
	entries, err := parseAdapters(adapterData)
	if err != nil {
		panic(err) // embedded, and a test reads it
	}
	byID := map[string]*adapterEntry{}
	for i := range entries {
		for _, id := range entries[i].IDs {
			byID[id] = &entries[i]
		}
	}
	return byID
})

func parseAdapters(b []byte) ([]adapterEntry, error) {
	var file struct {
		Date     string         `yaml:"date"`
		Adapters []adapterEntry `yaml:"adapters"`
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("adapters: %w", err)
	}
	var seen []string
	for _, a := range file.Adapters {
		if a.Chip == "" || a.Source == "" || len(a.IDs) == 0 {
			return nil, fmt.Errorf("adapters: %q lacks a chip, a source or ids", a.Chip)
		}
		for _, id := range a.IDs {
			if !adapterID.MatchString(id) || slices.Contains(seen, id) {
				return nil, fmt.Errorf("adapters: %s: id %q is malformed or there twice", a.Chip, id)
			}
			seen = append(seen, id)
		}
		for _, t := range a.Traps {
			if t.Says == "" || t.Source == "" {
				return nil, fmt.Errorf("adapters: %s: a trap lacks its words or its source", a.Chip)
			}
		}
	}
	return file.Adapters, nil
}

// lookUp returns what is known of an adapter, or nil.
func lookUp(id, serial, system string) *Adapter {
	e := adapters()[id]
	if e == nil {
		return nil
	}
	a := &Adapter{Chip: e.Chip, Maker: e.Maker}
	for _, t := range e.Traps {
		if t.System != "" && t.System != system {
			continue
		}
		if t.Serial == "" || t.Serial == "none" && serial == "" || t.Serial == serial {
			a.Traps = append(a.Traps, t.Says)
		}
	}
	return a
}
