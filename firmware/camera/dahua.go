package camera

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"assay/firmware"
	"assay/firmware/filesystem"
	"assay/firmware/internal/container"
)

// dahuaPackage is what a zip of Dahua means: a script that burns images into
// named partitions, the hardware it is for, and images, most of them a uImage
// whose load address and entry point are a place in flash. A CramFS among them
// has the table of partitions, which is compared with the images.
var dahuaPackage = firmware.Format{
	Name:         "dahua-package",
	Source:       "BotoX Dahua-Firmware-Mod-Kit, configs; binwalk src/signatures/dahua_zip.rs; public readers of Install, check.img and partitionV2.txt",
	About:        "Dahua and OEM update: a zip of images, with a script and the flash partitions for them",
	Integrity:    "CRC-32 of the zip's members and of the uImages",
	Authenticity: "sign.img in newer ones, of a format that is not public: not verified here; none without it",
	Adopt:        adoptDahua,
}

const (
	dahuaMaxTable = 1 << 20 // of the image with the table of partitions
	dahuaHeader   = 64      // of a uImage
	dahuaMagic    = "\x27\x05\x19\x56"
)

// dahuaImage is a member that ends in .img.
type dahuaImage struct {
	name       string
	size       int64 // behind the header
	start, end int64 // in flash; 0 when it does not say
}

// dahuaRow is a partition in the table.
type dahuaRow struct {
	name       string
	start, end int64
}

func adoptDahua(w *firmware.Window, parts []*firmware.Region) []*firmware.Region {
	return adoptZips(w, parts, describeDahua)
}

func describeDahua(w *firmware.Window, zip *firmware.Region) *firmware.Region {
	entries, err := fs.ReadDir(zip.FS, ".")
	if err != nil {
		return nil
	}
	has := make(map[string]bool)
	var names []string
	for _, e := range entries {
		has[e.Name()] = true
		if strings.HasSuffix(e.Name(), ".img") {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 || !has["Install"] && !has["Install.lua"] && !has["hwid"] {
		return nil
	}
	r := &firmware.Region{Format: "dahua-package", Role: firmware.RoleFirmware}
	commands := dahuaInstall(r, zip.FS, has)
	if b, _ := member(zip.FS, "hwid", maxScript); b != nil {
		r.AddField("hardware", "%s", short(container.Printable(strings.TrimSpace(string(b)))))
	}
	var images []dahuaImage
	for _, name := range names[:min(len(names), maxListed)] {
		images = append(images, dahuaRead(r, zip.FS, name))
	}
	dahuaCheck(r, zip.FS)
	dahuaBurns(r, commands, has, names)
	dahuaCompare(r, images, dahuaTable(w, r, zip.FS, names))
	if _, size := member(zip.FS, "sign.img", 0); has["sign.img"] {
		r.AddField("signature", "sign.img of %d bytes, of a format that is not public, not verified here", size)
		r.AddField("protection", "CRC-32s are integrity only and prove no origin; sign.img would, and there is no public way to verify it")
	} else {
		r.AddField("signature", "none: there is no sign.img")
		r.AddField("protection", "CRC-32s: integrity only, proves no origin; public tools build such packages")
	}
	return r
}

// dahuaInstall reads the script, which is JSON with comments behind it, or Lua.
func dahuaInstall(r *firmware.Region, files fs.FS, has map[string]bool) (commands []string) {
	if !has["Install"] {
		if has["Install.lua"] {
			r.AddField("installer", "Install.lua, a script: not read here")
		}
		return nil
	}
	var install struct {
		Commands []string
		Devices  [][]string
		Vendor   string
		Version  struct{ SoftwareVersion string }
	}
	b, _ := member(files, "Install", maxScript)
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&install); err != nil {
		r.AddField("installer", "Install, which is not the JSON that is known")
		return nil
	}
	r.AddField("installer", "Install, %d commands", len(install.Commands))
	r.AddField("vendor", "%s", short(container.Printable(install.Vendor)))
	r.AddField("software version", "%s", short(container.Printable(install.Version.SoftwareVersion)))
	var devices []string
	for _, d := range install.Devices[:min(len(install.Devices), maxListed)] {
		devices = append(devices, strings.Join(d[:min(len(d), 4)], " "))
	}
	r.AddField("devices", "%s", short(container.Printable(strings.Join(devices, ", "))))
	return install.Commands[:min(len(install.Commands), 4*maxListed)]
}

// dahuaRead reads the header of an image.
func dahuaRead(r *firmware.Region, files fs.FS, name string) dahuaImage {
	b, size := member(files, name, dahuaHeader)
	if len(b) < dahuaHeader || string(b[:4]) != dahuaMagic {
		r.AddField("image", "%s, %d bytes", container.Printable(name), size)
		return dahuaImage{name: name, size: size}
	}
	i := dahuaImage{name: name, size: size - dahuaHeader, start: int64(binary.BigEndian.Uint32(b[16:])), end: int64(binary.BigEndian.Uint32(b[20:]))}
	if i.end <= i.start {
		i.start, i.end = 0, 0
		r.AddField("image", "%s, %d bytes behind a uImage header", container.Printable(name), i.size)
		return i
	}
	r.AddField("image", "%s, %d bytes for flash from %#x to %#x", container.Printable(name), i.size, i.start, i.end)
	return i
}

// dahuaCheck lists what check.img says of the units that it is for.
func dahuaCheck(r *firmware.Region, files fs.FS) {
	b, size := member(files, "check.img", maxScript)
	if b == nil {
		return
	}
	if len(b) >= dahuaHeader && string(b[:4]) == dahuaMagic {
		b = b[dahuaHeader:]
	}
	var check map[string]any
	if json.NewDecoder(bytes.NewReader(b)).Decode(&check) != nil {
		r.AddField("check", "check.img of %d bytes, which is not the JSON that is known", size)
		return
	}
	for _, key := range []string{"hwid", "SecurityBaselineVersion", "HardwareSecurityVersionMajor", "FlashSize", "FlashType", "DefaultLanguage"} {
		if v, ok := check[key]; ok {
			r.AddField("check: "+key, "%s", short(container.Printable(fmt.Sprint(v))))
		}
	}
}

// dahuaBurns compares what the script burns with what is there.
func dahuaBurns(r *firmware.Region, commands []string, has map[string]bool, images []string) {
	burnt := make(map[string]bool)
	for _, c := range commands {
		words := strings.Fields(c)
		if len(words) < 2 || words[0] != "burn" {
			continue
		}
		burnt[words[1]] = true
		if !has[words[1]] {
			r.AddProblem("Install burns %q, which is not in the package", short(words[1]))
		}
	}
	if len(burnt) == 0 {
		return
	}
	var left []string
	for _, name := range images {
		if !burnt[name] && name != "check.img" && name != "sign.img" {
			left = append(left, name)
		}
	}
	r.AddField("images that Install does not burn", "%s", short(container.Printable(strings.Join(left, ", "))))
}

// dahuaLine is name, chip select, offset, size; what follows is how it is
// mounted.
var dahuaLine = regexp.MustCompile(`^\s*([\w.-]+)\s*,\s*\d+\s*,\s*0[xX]([0-9a-fA-F]{1,16})\s*,\s*0[xX]([0-9a-fA-F]{1,16})\s*(?:,|$)`)

// dahuaTable reads the table of partitions from the CramFS that it is shipped in.
func dahuaTable(w *firmware.Window, r *firmware.Region, files fs.FS, names []string) []dahuaRow {
	i := slices.IndexFunc(names, func(name string) bool { return path.Base(name) == "partition-x.cramfs.img" })
	if i < 0 || w.Meter().Hold(dahuaMaxTable) != nil {
		return nil
	}
	defer w.Meter().Release(dahuaMaxTable)
	b, _ := member(files, names[i], dahuaMaxTable)
	if len(b) >= dahuaHeader && string(b[:4]) == dahuaMagic {
		b = b[dahuaHeader:]
	}
	table, err := filesystem.NewCramFS(w.Context(), bytes.NewReader(b), int64(len(b)), w.Meter())
	if table == nil {
		r.AddProblem("%s: %v", names[i], err)
		return nil
	}
	for _, name := range []string{"partitionV2.txt", "partition.txt"} {
		text, _ := member(table, name, maxScript)
		var rows []dahuaRow
		var shown []string
		for line := range strings.Lines(string(text)) {
			m := dahuaLine.FindStringSubmatch(line)
			if m == nil || len(rows) == maxListed {
				continue
			}
			start, _ := strconv.ParseUint(m[2], 16, 64)
			size, _ := strconv.ParseUint(m[3], 16, 64)
			rows = append(rows, dahuaRow{m[1], declared(start), declared(start) + declared(size)})
			shown = append(shown, fmt.Sprintf("%s at %#x+%#x", m[1], start, size))
		}
		if rows != nil {
			r.AddField("claimed flash layout", "%s: %s", name, strings.Join(shown, ", "))
			return rows
		}
	}
	r.AddField("claimed flash layout", "none that is known")
	return nil
}

// dahuaCompare holds the places of images to themselves and to the table.
func dahuaCompare(r *firmware.Region, images []dahuaImage, rows []dahuaRow) {
	for _, i := range images {
		if i.end == 0 {
			continue
		}
		if i.size > i.end-i.start {
			r.AddProblem("%q has %d bytes and is for %d of flash", i.name, i.size, i.end-i.start)
		}
		for _, row := range rows {
			if i.start < row.end && row.start < i.end && (i.start != row.start || i.end != row.end) {
				r.AddProblem("%q is for flash from %#x to %#x, and the table has %s from %#x to %#x", i.name, i.start, i.end, row.name, row.start, row.end)
			}
		}
	}
}
