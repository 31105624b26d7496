package town

import (
	"net/netip"
	"testing"

	"assay/devices/simulator"
)

func TestEachUnitIsOneOfItsModelAndNoOther(t *testing.T) {
	all, err := Residents(netip.MustParseAddr("127.91.0.1"), 200)
	if err != nil {
		t.Fatal(err)
	}
	serials, kinds := map[string]int{}, map[string]int{}
	for _, r := range all {
		c, err := r.camera()
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		kinds[r.Name]++
		if c.ONVIF != nil && r.Name != "reolink" { // its noughts are its own
			if n := serials[c.ONVIF.Serial]; n != 0 {
				t.Errorf("units %d and %d both are %s", n, r.N, c.ONVIF.Serial)
			}
			serials[c.ONVIF.Serial] = r.N
		}
	}
	if kinds["hikvision"] != 32 || kinds["copycat"] != 6 || len(serials) < 100 {
		t.Errorf("%v, %d serial numbers", kinds, len(serials))
	}
}

func TestNumberedCameraKeepsItsVersionsAndWritesItsMACEverywhere(t *testing.T) {
	c, err := simulator.Numbered("dahua", 0x0102)
	if err != nil {
		t.Fatal(err)
	}
	if c.ONVIF.Firmware != "2.800.0000016.0.R, Build Date 2020-06-05" || c.ONVIF.MACs[0] != "02:a5:5a:00:01:02" || c.ONVIF.Serial != "0A00000PAG00258" {
		t.Errorf("%+v", c.ONVIF)
	}
}
