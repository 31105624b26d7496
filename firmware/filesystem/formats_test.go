//go:build linux

package filesystem_test

import (
	"encoding/binary"
	"maps"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

// samples are sound images by the name of their format.
var samples = map[string]formattest.Sample{
	"squashfs": {Fuzz: "FuzzSquashFS", Role: firmware.RoleRootFS, Make: func(testing.TB) []byte { return small() }},
	"cpio":     {Fuzz: "FuzzCpio", Role: firmware.RoleData, Make: func(t testing.TB) []byte { return cpio(t, littleTree(t), "newc") }},
	// Empty LEBs at the end of an UBIFS may be missing, as in a volume that is to grow.
	"ubifs":  {Midst: true, Fuzz: "FuzzUBIFS", Role: firmware.RoleData, Make: func(t testing.TB) []byte { return mkfsUBIFS(t, littleTree(t), smallPages...) }},
	"cramfs": {Fuzz: "FuzzCramFS", Role: firmware.RoleData, Make: func(testing.TB) []byte { return smallCramFS(binary.LittleEndian) }},
	"romfs":  {Fuzz: "FuzzROMFS", Role: firmware.RoleData, Make: func(testing.TB) []byte { return smallROMFS() }},
	"ext2":   {Fuzz: "FuzzExt", Role: firmware.RoleData, Make: func(t testing.TB) []byte { return smallExt(t, "ext2") }},
	"ext3":   {Fuzz: "FuzzExt", Role: firmware.RoleData, Make: func(t testing.TB) []byte { return smallExt(t, "ext3") }},
	"ext4":   {Fuzz: "FuzzExt", Role: firmware.RoleData, Make: func(t testing.TB) []byte { return smallExt(t, "ext4") }},
	"fat":    {Fuzz: "FuzzFAT", Role: firmware.RoleData, Make: smallFAT},
	"erofs":  {Fuzz: "FuzzEROFS", Role: firmware.RoleData, Make: func(t testing.TB) []byte { return mkfsEROFS(t, littleTree(t), "-zlz4hc", "-T1600000000") }},
	"minix":  {Fuzz: "FuzzMinix", Role: firmware.RoleRootFS, Make: func(testing.TB) []byte { return minix(1, 30, binary.LittleEndian, 40) }},
	// Two are recognised only.
	"f2fs":  {Fuzz: "FuzzF2FS", State: firmware.Parsed, Role: firmware.RoleData, Make: smallF2FS},
	"exfat": {Fuzz: "FuzzExFAT", State: firmware.Parsed, Role: firmware.RoleData, Make: smallExFAT},
	"jffs2": {Fuzz: "FuzzJFFS2", Role: firmware.RoleData, Make: func(testing.TB) []byte { return handmade(binary.LittleEndian) }},
}

// TestEachFileSystemIsRecognisedAndSurvivesItsEnemies wants more of a file system
// than of other formats: its walk proves it and its files can be read.
func TestEachFileSystemIsRecognisedAndSurvivesItsEnemies(t *testing.T) {
	maps.Copy(samples, archiveSamples)
	for name, s := range samples {
		if s.State != firmware.Opaque {
			continue
		}
		make := s.Make
		s.State = firmware.Proven
		s.Make = func(t testing.TB) []byte {
			b := make(t)
			if r := formattest.First(formattest.Open(t, b), name); r == nil || r.FS == nil {
				t.Errorf("its files cannot be read")
			}
			return b
		}
		samples[name] = s
	}
	formattest.Check(t, "assay/firmware/filesystem", samples)
}
