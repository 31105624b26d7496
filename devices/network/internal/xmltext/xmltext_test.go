package xmltext

import "testing"

func TestParseTakesWhatFirmwareSends(t *testing.T) {
	for name, c := range map[string]struct{ doc, field, want string }{
		"a raw ampersand":       {"<a><Name>Front & Back</Name></a>", "name", "Front & Back"},
		"another case":          {"<ProbeMatch><devicesn>X1</devicesn></ProbeMatch>", "DeviceSN", "X1"},
		"an unbound prefix":     {"<q:a><q:b>1</q:b></q:a>", "b", "1"},
		"undeclared GB 18030":   {"<a><b>\xc9\xe3\xcf\xf1\xbb\xfa</b></a>", "b", "摄像机"},
		"declared as gb2312":    {"<?xml version=\"1.0\" encoding=\"gb2312\"?><a><b>\xc9\xe3</b></a>", "b", "摄"},
		"cut off in the middle": {"<a><b>1</b><c>2", "b", "1"},
		"noughts at the end":    {"<a><b>1</b></a>\x00\x00\n", "b", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			n, _ := Parse([]byte(c.doc))
			if got := n.FieldFold(c.field); got != c.want {
				t.Errorf("%s is %q, want %q", c.field, got, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("<?xml version='1.0'?><a x='1'>&<b:c>\xc9</b:c></a>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := Parse(b); err == nil && n == nil {
			t.Fatal("neither a document nor an error")
		}
	})
}
