package firmware

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
)

func TestARestoredImageIsTheOneThatWasAnalysed(t *testing.T) {
	data := append(bytes.Repeat([]byte("some words that are no format. "), 100), bytes.Repeat([]byte{0xff}, 8192)...)
	data = append(data, bytes.Repeat([]byte{0x81, 0x92, 0xfe}, 3000)...)
	analysed := func() *Image {
		img, err := Open(context.Background(), bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(img)
		if err != nil {
			t.Fatal(err)
		}
		var out Image
		if err := json.Unmarshal(b, &out); err != nil {
			t.Fatal(err)
		}
		return &out
	}
	img := analysed()
	if err := Restore(img, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	img = analysed()
	want := img.SHA256
	img.SHA256, img.Problems = "", []string{"the analysis ended"}
	if err := Restore(img, bytes.NewReader(data), int64(len(data))); err != nil || img.SHA256 != want {
		t.Errorf("%v, the digest that was made here is %s", err, img.SHA256)
	}
	p := make([]byte, 4)
	if _, err := img.Section(img.Regions[0]).ReadAt(p, 0); err != nil || string(p) != "some" {
		t.Errorf("%q %v", p, err)
	}
	for name, change := range map[string]func(*Image){
		"another size":   func(i *Image) { i.Size++ },
		"another digest": func(i *Image) { i.SHA256 = "00" },
		"another digest of a region, and no digest": func(i *Image) {
			i.SHA256, i.Regions[0].SHA256, i.Problems = "", i.Regions[1].SHA256, []string{"ended"}
		},
		"no region":                              func(i *Image) { i.Regions = nil },
		"a region that is null":                  func(i *Image) { i.Regions[0] = nil },
		"a gap":                                  func(i *Image) { i.Regions[0].Size-- },
		"an overlap":                             func(i *Image) { i.Regions[0].Size++ },
		"a negative size":                        func(i *Image) { i.Regions[0].Size = -1 },
		"an overflow":                            func(i *Image) { i.Regions[0].Size = 1<<63 - 1 },
		"another digest of a region":             func(i *Image) { i.Regions[0].SHA256 = i.Regions[1].SHA256 },
		"code that is called erased":             func(i *Image) { i.Regions[0].State = Erased },
		"bytes that are no UTF-8, called erased": func(i *Image) { i.Regions[2].State, i.Regions[2].SHA256 = Erased, "" },
		"a child outside":                        func(i *Image) { i.Regions[1].Children = []*Region{{Offset: 0, Size: 1}} },
		"children that overlap": func(i *Image) {
			i.Regions[0].Children = []*Region{{Offset: 0, Size: 9}, {Offset: 8, Size: 9}}
		},
		"a child that is null":          func(i *Image) { i.Regions[0].Children = []*Region{nil} },
		"a file that is null":           func(i *Image) { i.Regions[0].Files = []*File{nil} },
		"contents with a gap":           func(i *Image) { i.Regions[0].Contents = &Image{Size: 5} },
		"a file's contents with a gap":  func(i *Image) { i.Regions[0].Files = []*File{{Contents: &Image{Size: 5}}} },
		"a child that is called erased": func(i *Image) { i.Regions[0].Children = []*Region{{Size: 9, State: Erased}} },
	} {
		img := analysed()
		change(img)
		if err := Restore(img, bytes.NewReader(data), int64(len(data))); err == nil {
			t.Errorf("%s was believed", name)
		}
	}
	if err := Restore(nil, bytes.NewReader(data), int64(len(data))); err == nil {
		t.Error("nothing was believed")
	}
}

func TestWhatWasUnpackedCannotBeReadInARestoredImage(t *testing.T) {
	img := &Image{Size: 4, Problems: []string{"ended"}, Regions: []*Region{{Size: 4, Contents: &Image{Size: 2, Regions: []*Region{{Size: 2}}}}}}
	if err := Restore(img, bytes.NewReader(make([]byte, 4)), 4); err != nil {
		t.Fatal(err)
	}
	if _, err := img.Regions[0].Contents.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("it was read")
	}
}
