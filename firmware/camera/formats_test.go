package camera_test

import (
	"testing"

	_ "assay/firmware/camera"
	_ "assay/firmware/filesystem"
	_ "assay/firmware/format"
	"assay/firmware/internal/formattest"
)

func TestEachFormatIsRecognisedAndSurvivesItsEnemies(t *testing.T) {
	formattest.Check(t, "assay/firmware/camera", samples)
}

func FuzzHikvisionSWKH(f *testing.F)  { fuzz(f, "hikvision-swkh") }
func FuzzHikvisionHK(f *testing.F)    { fuzz(f, "hikvision-hk") }
func FuzzReolinkPAK(f *testing.F)     { fuzz(f, "reolink-pak") }
func FuzzReolinkPAKS(f *testing.F)    { fuzz(f, "reolink-paks") }
func FuzzTapo(f *testing.F)           { fuzz(f, "tplink-tapo") }
func FuzzCloud(f *testing.F)          { fuzz(f, "tplink-cloud") }
func FuzzBosch(f *testing.F)          { fuzz(f, "bosch-fw") }
func FuzzBoschArchive(f *testing.F)   { fuzz(f, "bosch-archive") }
func FuzzAmbarella(f *testing.F)      { fuzz(f, "ambarella-firmware", makeAmbarellaPacked()) }
func FuzzAmbarellaPart(f *testing.F)  { fuzz(f, "ambarella-part") }
func FuzzAmbarellaTable(f *testing.F) { fuzz(f, "ambarella-ptb") }
func FuzzAmbarellaROMFS(f *testing.F) { fuzz(f, "ambarella-romfs", makeAmbarellaROMFS(false)) }
func FuzzGrainMedia(f *testing.F)     { fuzz(f, "grain-media-gm8126") }
func FuzzTenvis(f *testing.F)         { fuzz(f, "tenvis-pk2") }
func FuzzInstar(f *testing.F)         { fuzz(f, "instar-bneg") }
func FuzzHichip(f *testing.F)         { fuzz(f, "hichip-pkg") }
func FuzzANJVision(f *testing.F)      { fuzz(f, "anjvision") }
func FuzzNovatekPackage(f *testing.F) { fuzz(f, "novatek-nvtpack") }
func FuzzNovatekCKSM(f *testing.F)    { fuzz(f, "novatek-cksm") }
func FuzzNovatekBCL(f *testing.F) {
	fuzz(f, "novatek-bcl", makeBCL(12, zlibPacked(formattest.Text(900)), 900))
}
func FuzzXiaomi(f *testing.F)   { fuzz(f, "xiaomi-hdr", makeXiaomi(2)) }
func FuzzIngenic(f *testing.F)  { fuzz(f, "ingenic-sd") }
func FuzzDahua(f *testing.F)    { fuzz(f, "dahua-package") }
func FuzzXiongmai(f *testing.F) { fuzz(f, "xiongmai-package") }

func fuzz(f *testing.F, name string, more ...[]byte) {
	seeds := []func(testing.TB) []byte{samples[name].Make}
	for _, b := range more {
		seeds = append(seeds, made(b))
	}
	formattest.Fuzz(f, seeds...)
}
