package register

import (
	"testing"

	"assay/attest"
)

func TestTheUnitsOfAKeyAreFound(t *testing.T) {
	ctx := t.Context()
	b, r := newBench(t), openAt(t, t.TempDir())
	for _, n := range []int{1, 2, 2, 10} {
		if _, err := r.Add(ctx, b.entry(t, n)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		key   attest.Digest
		units int
	}{
		{"a key that two units have, one registered twice", keyOf(1), 2},
		{"a key of one unit", keyOf(10), 1},
		{"a key that nobody has", keyOf(11), 0},
		{"what is no key", "no digest", 0},
	} {
		units, err := r.KeyHolders(ctx, c.key)
		if err != nil || len(units) != c.units {
			t.Errorf("%s: %d units, %v", c.name, len(units), err)
		}
		for _, u := range units {
			if !u.Identified() || u.Maker != "Example Optics" {
				t.Errorf("%s: %+v", c.name, u)
			}
		}
	}
}
