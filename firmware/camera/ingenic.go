package camera

import (
	"assay/firmware"
)

// ingenicSD is the SD card image of Wyze, Xiaomi and other cameras with Ingenic's
// boot loader: a legacy uImage of a firmware that is named jz_fw. The boot loader
// writes its payload into flash when it finds the card, at 0x40000 behind itself,
// or over all of the flash where the payload begins with a boot loader.
var ingenicSD = firmware.Format{
	Name:         "ingenic-sd",
	Source:       "Wyze and Xiaomi SD card images as public unpackers describe them; U-Boot include/image.h",
	About:        "SD card image for Ingenic cameras (Wyze, Xiaomi): a uImage named jz_fw",
	Integrity:    "CRC-32s of the uImage",
	Authenticity: "none: the boot loader takes any image of that name",
	Adopt:        adoptIngenic,
}

func adoptIngenic(_ *firmware.Window, parts []*firmware.Region) []*firmware.Region {
	var joined []*firmware.Region
	for i, p := range parts {
		if p.Format != "uimage" || p.Name != "jz_fw" || p.Field("type") != "firmware" {
			continue
		}
		if joined == nil {
			joined = append(joined, parts...)
		}
		r := &firmware.Region{Offset: p.Offset, Size: p.Size, Format: "ingenic-sd", Name: p.Name, Role: firmware.RoleFirmware, State: p.State, Children: []*firmware.Region{p}}
		place := "written to flash from 0x40000, behind the boot loader"
		if len(p.Children) > 0 && p.Children[0].Role == firmware.RoleBootLoader {
			place = "written over the flash from its beginning, boot loader included"
		}
		r.AddField("payload", "%s", place)
		r.AddField("protection", "the uImage's CRC-32s: integrity only, proves no origin; the boot loader takes any image of that name from a card")
		if p.State != firmware.Proven {
			r.AddProblem("the uImage in it is %s", p.State)
		}
		joined[i] = r
	}
	return joined
}
