package camera

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// xiongmaiPackage is what a zip of Xiongmai means: InstallDesc, a script in JSON
// that says which unit it is for and which images to burn, and the images.
var xiongmaiPackage = firmware.Format{
	Name:         "xiongmai-package",
	Source:       "InstallDesc of Xiongmai updates: Hardware, DevID, CompatibleVersion, Vendor, UpgradeCommand",
	About:        "Xiongmai and OEM update: a zip of images and the script InstallDesc",
	Integrity:    "CRC-32 of the zip's members and of the uImages",
	Authenticity: "none",
	Adopt:        adoptXiongmai,
}

func adoptXiongmai(w *firmware.Window, parts []*firmware.Region) []*firmware.Region {
	return adoptZips(w, parts, describeXiongmai)
}

func describeXiongmai(_ *firmware.Window, zip *firmware.Region) *firmware.Region {
	b, size := member(zip.FS, "InstallDesc", maxScript)
	if b == nil {
		return nil
	}
	r := &firmware.Region{Format: "xiongmai-package", Role: firmware.RoleFirmware}
	r.AddField("protection", "CRC-32s: integrity only, proves no origin; the unit compares names of hardware and nothing else that is known")
	var desc struct {
		Hardware, DevID, Vendor any
		CompatibleVersion       any
		UpgradeCommand          []struct{ Command, FileName string }
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&desc); err != nil {
		r.AddProblem("InstallDesc of %d bytes is not the JSON that is known", size)
		return r
	}
	for _, f := range []struct {
		name  string
		value any
	}{{"hardware", desc.Hardware}, {"device", desc.DevID}, {"vendor", desc.Vendor}, {"compatible version", desc.CompatibleVersion}} {
		if f.value != nil {
			r.AddField(f.name, "%s", short(container.Printable(fmt.Sprint(f.value))))
		}
	}
	for _, c := range desc.UpgradeCommand[:min(len(desc.UpgradeCommand), maxListed)] {
		r.AddField("command", "%s", short(container.Printable(strings.TrimSpace(c.Command+" "+c.FileName))))
		if c.FileName == "" {
			continue
		}
		if _, err := fs.Stat(zip.FS, c.FileName); err != nil {
			r.AddProblem("InstallDesc names %q, which is not in the package", short(c.FileName))
		}
	}
	return r
}
