package entity

import (
	"testing"

	"assay/devices/console/chip"
)

// The chip data is below this package and names makers by their ids here.
func TestEveryMakerOfAChipIsAnEntity(t *testing.T) {
	d := load(t)
	all := chip.Makers()
	if len(all) < 60 {
		t.Fatalf("only %d makers of chips", len(all))
	}
	for _, m := range all {
		if e := d.Get(m.Entity); e == nil {
			t.Errorf("%s: no entity %q", m.Name, m.Entity)
		} else if len(e.Jurisdictions) == 0 {
			t.Errorf("%s: entity %q has no jurisdiction", m.Name, m.Entity)
		}
	}
}
