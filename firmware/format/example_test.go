package format_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"

	"assay/firmware"
	_ "assay/firmware/filesystem"
	_ "assay/firmware/format"
)

func Example() {
	dump := bytes.Repeat([]byte{0xff}, 64<<10)
	copy(dump, makeEnv(0x1000, false, "bootcmd=bootm 0x80000", "baudrate=115200"))

	img, err := firmware.Open(context.Background(), bytes.NewReader(dump), int64(len(dump)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err) // img still holds what was found before
	}
	img.Walk(func(path []*firmware.Region, holder *firmware.Image, r *firmware.Region) error {
		fmt.Printf("%s%#x %d %s %s\n", strings.Repeat("  ", len(path)), r.Offset, r.Size, r.State, r.Format)
		for _, f := range r.Fields {
			fmt.Printf("%s  %s: %s\n", strings.Repeat("  ", len(path)), f.Name, f.Value)
		}
		return nil
	})
	// Output:
	// 0x0 4096 proven u-boot-env
	//   bootcmd: bootm 0x80000
	//   baudrate: 115200
	// 0x1000 61440 erased
}
