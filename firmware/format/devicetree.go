package format

import (
	"errors"
	"strings"

	"assay/firmware"
	"assay/firmware/fdt"
)

var deviceTree = firmware.Format{
	Name:   "fdt",
	Source: "Devicetree Specification v0.4, chapter 5",
	Magics: []firmware.Magic{{Bytes: "\xd0\x0d\xfe\xed"}},
	Parse:  parseDeviceTree,
}

func parseTree(w *firmware.Window) (*fdt.Tree, error) {
	t, err := fdt.Parse(w, w.Size())
	if errors.Is(err, fdt.ErrMalformed) {
		return nil, notFormat("%v", err)
	}
	return t, err
}

// parseDeviceTree walks the whole tree. Nothing in it checks its values.
func parseDeviceTree(w *firmware.Window) (*firmware.Region, error) {
	t, err := parseTree(w)
	if err != nil {
		return nil, err
	}
	r := &firmware.Region{Size: int64(t.Header.TotalSize), Role: firmware.RoleDeviceTree, State: firmware.Parsed, Name: printable(t.String(t.Root, "model"))}
	r.AddField("model", "%s", printable(t.String(t.Root, "model")))
	r.AddField("compatible", "%s", printable(strings.Join(t.Strings(t.Root, "compatible"), " ")))
	if chosen := t.Root.Child("chosen"); chosen != nil {
		r.AddField("bootargs", "%s", printable(t.String(chosen, "bootargs")))
	}
	if keys := t.Root.Child("signature"); keys != nil {
		// The keys that a U-Boot with this control tree trusts.
		for _, k := range limited(keys.Children, maxListed) {
			r.AddField("trusted key", "%s", printable(strings.TrimSpace(k.Name+" "+t.String(k, "algo")+" required="+t.String(k, "required"))))
		}
	}
	noteDuplicates(t, r)
	return r, nil
}

// maxListed bounds the fields that one list in an image can cause.
const maxListed = 64

func limited[T any](list []T, n int) []T { return list[:min(n, len(list))] }

func noteDuplicates(t *fdt.Tree, r *firmware.Region) {
	for _, path := range t.Duplicates {
		r.AddProblem("%s stands twice in the tree; readers differ in which one they take", printable(path))
	}
}
