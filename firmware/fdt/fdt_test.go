package fdt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"assay/internal/peer"
)

// builder writes a blob token by token, so that it can be wrong in each place.
type builder struct {
	structure, names bytes.Buffer
	offsets          map[string]uint32
}

func (b *builder) word(v uint32) *builder {
	b.structure.Write(binary.BigEndian.AppendUint32(nil, v))
	return b
}

func (b *builder) begin(name string) *builder {
	b.word(tokenBeginNode)
	b.structure.WriteString(name + "\x00")
	return b.pad()
}

func (b *builder) end() *builder { return b.word(tokenEndNode) }

func (b *builder) prop(name string, value []byte) *builder {
	if b.offsets == nil {
		b.offsets = map[string]uint32{}
	}
	off, ok := b.offsets[name]
	if !ok {
		off = uint32(b.names.Len())
		b.offsets[name] = off
		b.names.WriteString(name + "\x00")
	}
	b.word(tokenProp).word(uint32(len(value))).word(off)
	b.structure.Write(value)
	return b.pad()
}

func (b *builder) pad() *builder {
	for b.structure.Len()%4 != 0 {
		b.structure.WriteByte(0)
	}
	return b
}

func (b *builder) bytes() []byte {
	const head = headerSize + 16
	var out bytes.Buffer
	out.Write(binary.BigEndian.AppendUint32(nil, Magic))
	for _, v := range []int{head + b.structure.Len() + b.names.Len(), head, head + b.structure.Len(), headerSize, 17, 16, 0, b.names.Len(), b.structure.Len()} {
		out.Write(binary.BigEndian.AppendUint32(nil, uint32(v)))
	}
	out.Write(make([]byte, 16))
	out.Write(b.structure.Bytes())
	out.Write(b.names.Bytes())
	return out.Bytes()
}

func plain() *builder {
	b := &builder{}
	return b.begin("").prop("model", []byte("Example 1\x00")).word(tokenNop).
		begin("cpus").prop("reg", []byte{0, 0, 0, 7}).begin("cpu@0").prop("reg", []byte{0, 0, 0, 1, 0, 0, 0, 2}).prop("compatible", []byte("a,b\x00c,d\x00")).end().end().
		end().word(tokenEnd)
}

func parse(b []byte) (*Tree, error) { return Parse(bytes.NewReader(b), int64(len(b))) }

func TestATreeKeepsItsValuesAndItsOffsets(t *testing.T) {
	blob := plain().bytes()
	tree, err := parse(blob)
	if err != nil {
		t.Fatal(err)
	}
	cpu := tree.Lookup("/cpus/cpu@0")
	if cpu == nil || tree.String(tree.Root, "model") != "Example 1" || strings.Join(tree.Strings(cpu, "compatible"), " ") != "a,b c,d" {
		t.Fatalf("tree %+v", tree.Root)
	}
	if v, ok := tree.Uint(tree.Lookup("/cpus"), "reg"); !ok || v != 7 {
		t.Errorf("one cell: %d", v)
	}
	if v, ok := tree.Uint(cpu, "reg"); !ok || v != 1<<32|2 {
		t.Errorf("two cells: %d", v)
	}
	if _, ok := tree.Uint(tree.Root, "model"); ok {
		t.Error("text was taken for a number")
	}
	word := func(structOffset int64) uint32 { return binary.BigEndian.Uint32(blob[tree.Offset(structOffset):]) }
	var walk func(*Node)
	walk = func(n *Node) {
		if word(n.Begin) != tokenBeginNode || word(n.End) != tokenEndNode {
			t.Errorf("%q: tokens %d at %#x, %d at %#x", n.Name, word(n.Begin), n.Begin, word(n.End), n.End)
		}
		if !bytes.HasPrefix(blob[tree.Offset(n.Begin)+4:], []byte(n.Name+"\x00")) {
			t.Errorf("%q: its name is not behind its token", n.Name)
		}
		for i := range n.Properties {
			p := &n.Properties[i]
			if word(p.Token) != tokenProp || int64(word(p.Token+4)) != p.Length || word(p.Token+8) != p.NameOffset || p.Value != p.Token+12 {
				t.Errorf("%s: %+v", p.Name, p)
			}
			got, err := io.ReadAll(tree.Section(p))
			want, err2 := tree.Value(p)
			if err != nil || err2 != nil || !bytes.Equal(got, want) || !bytes.Equal(got, blob[tree.Offset(p.Value):tree.Offset(p.Value)+p.Length]) {
				t.Errorf("%s: %x, %x", p.Name, got, want)
			}
		}
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(tree.Root)
	if word(tree.EndToken) != tokenEnd {
		t.Errorf("the end token is not at %#x", tree.EndToken)
	}
}

func TestMalformedTreesAreRefusedWithThePlace(t *testing.T) {
	set := func(word int, v uint32) []byte {
		b := plain().bytes()
		binary.BigEndian.PutUint32(b[4*word:], v)
		return b
	}
	b := func() *builder { return &builder{} }
	for _, c := range []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"no bytes", nil, "no header"},
		{"another magic", set(0, 0xd00dfeee), "magic"},
		{"a total size past the end", set(1, 1<<31), "total size"},
		{"a structure block past the end", set(2, 0xfffffff0), "structure block"},
		{"a strings block past the end", set(3, 0xffffffff), "strings block"},
		{"blocks that overlap", set(3, 56), "overlap"},
		{"a strings block over all", set(8, 1<<31), "strings block"},
		{"a structure block amid the header", set(2, 8), "structure block"},
		{"an unaligned structure block", set(2, 57), "not aligned"},
		{"reservations that do not end", set(4, 56), "reservation"},
		{"an old version", set(5, 3), "version"},
		{"a version from the future", set(6, 18), "version"},
		{"a structure block that is too short", set(9, 8), "ends amid"},
		{"no end token", b().begin("").end().bytes(), "ends amid"},
		{"an open node", b().begin("").word(tokenEnd).bytes(), "nodes open"},
		{"a node too many ended", b().begin("").end().end().word(tokenEnd).bytes(), "none is open"},
		{"two roots", b().begin("").end().begin("").end().word(tokenEnd).bytes(), "second root"},
		{"a property outside", b().prop("x", nil).word(tokenEnd).bytes(), "in no node"},
		{"an unknown token", b().begin("").word(5).bytes(), "unknown token"},
		{"a value of 4 GiB", b().begin("").word(tokenProp).word(0xffffffff).word(0).bytes(), "the block ends"},
		{"a name past the strings", b().begin("").word(tokenProp).word(0).word(99).bytes(), "past the strings block"},
		{"an endless node name", b().begin(strings.Repeat("n", 300)).end().word(tokenEnd).bytes(), "does not end"},
		{"an endless property name", b().begin("").prop(strings.Repeat("p", 300), nil).end().word(tokenEnd).bytes(), "does not end"},
		{"nodes without bottom", bytes.Join([][]byte{func() []byte {
			d := b()
			for range 100 {
				d.begin("n")
			}
			return d.bytes()
		}()}, nil), "deep"},
		{"nodes without number", func() []byte {
			d := b().begin("")
			for range MaxNodes + 1 {
				d.begin("n").end()
			}
			return d.end().word(tokenEnd).bytes()
		}(), "more than"},
	} {
		if _, err := parse(c.bytes); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: err = %v", c.name, err)
		}
	}
}

func TestDuplicatesAreNamed(t *testing.T) {
	blob := (&builder{}).begin("").prop("a", nil).prop("a", nil).begin("n").end().begin("n").begin("m").end().begin("m").end().end().end().word(tokenEnd).bytes()
	tree, err := parse(blob)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(tree.Duplicates, " "); got != "/a /n /n/m" {
		t.Errorf("duplicates %q", got)
	}
}

func TestACutTreeIsAnErrorAtEachByte(t *testing.T) {
	blob := plain().bytes()
	for n := range blob {
		if _, err := parse(blob[:n]); err == nil {
			t.Fatalf("%d of %d bytes were accepted", n, len(blob))
		}
	}
}

func TestATreeOfDtcReadsAsItsSource(t *testing.T) {
	cmd := exec.Command(peer.Need(t, "dtc", "device-tree-compiler"), "-q", "-I", "dts", "-O", "dtb", "../../testdata/firmware/camera.dts")
	blob, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint32{17, 16} {
		if version == 16 {
			// Version 16 has no size of the structure block.
			binary.BigEndian.PutUint32(blob[20:], 16)
			binary.BigEndian.PutUint32(blob[36:], 0)
		}
		tree, err := parse(blob)
		if err != nil {
			t.Fatal(err)
		}
		memory := tree.Lookup("/memory@80000000")
		if memory == nil || tree.String(memory, "device_type") != "memory" || tree.String(tree.Lookup("/chosen"), "bootargs") != "console=ttyS0,115200 root=/dev/mtdblock3" {
			t.Errorf("version %d: %+v", version, tree.Root)
		}
		if len(tree.Reservations) != 1 || tree.Reservations[0] != (Reservation{0x80000000, 0x1000}) {
			t.Errorf("reservations %v", tree.Reservations)
		}
		if tree.Lookup("/memory") != nil {
			t.Error("a node was found without its unit address")
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(plain().bytes())
	f.Add((&builder{}).begin("").begin("a").end().begin("a").prop("x", []byte{1}).end().end().word(tokenEnd).bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		tree, err := parse(b)
		if err != nil {
			return
		}
		var walk func(n *Node, end int64)
		walk = func(n *Node, end int64) {
			if n.Begin < 0 || n.Body <= n.Begin || n.End < n.Body || n.End >= end {
				t.Fatalf("node %q from %#x to %#x in %#x", n.Name, n.Begin, n.End, end)
			}
			for i := range n.Properties {
				p := &n.Properties[i]
				if p.Value+p.Length > n.End {
					t.Fatalf("property %s leaves its node", p.Name)
				}
				if _, err := io.Copy(io.Discard, tree.Section(p)); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range n.Children {
				walk(c, n.End)
			}
		}
		walk(tree.Root, int64(tree.Header.StructSize))
	})
}

func TestPaddingThatLeadsPastTheBlockIsRefused(t *testing.T) {
	b := (&builder{}).begin("").prop("x", []byte{1}).end().word(tokenEnd)
	blob := b.bytes()
	// The block is said to end behind the value, amid its padding.
	binary.BigEndian.PutUint32(blob[36:], 4+4+12+1)
	if _, err := parse(blob); !errors.Is(err, ErrMalformed) {
		t.Fatalf("err = %v", err)
	}
}
