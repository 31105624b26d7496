package reference

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"assay/attest/entity"
	"assay/firmware"
	"assay/firmware/lineage"
	"assay/internal/database"
)

var ctx = context.Background()

func entities(t testing.TB) *entity.Data {
	t.Helper()
	d, err := entity.Load()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func openStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// profile has parts from a number to another, as if files were those numbers.
func profile(name string, from, to int) (*firmware.Image, *lineage.Profile) {
	p := &lineage.Profile{Rules: lineage.Rules, Size: 1 << 20, SHA256: strings.Repeat(fmt.Sprintf("%02x", name[0]), 32)}
	for i := from; i < to; i++ {
		p.Parts = append(p.Parts, part(lineage.Library, uint64(i), 0, 16, 32, fmt.Sprintf("squashfs@0x0/lib%d.so", i)))
	}
	img := &firmware.Image{Size: p.Size, SHA256: p.SHA256, Regions: []*firmware.Region{{Size: p.Size, Format: "squashfs", State: firmware.Proven, SHA256: p.SHA256,
		Files: []*firmware.File{{Path: "lib1.so", Mode: 0o644, Size: 5, SHA256: strings.Repeat("ab", 32)}, {Path: "dev", Mode: os.ModeDevice}}}}}
	return img, p
}

func add(t testing.TB, s *Store, r Reference, name string, from, to int) Reference {
	t.Helper()
	img, p := profile(name, from, to)
	if r.Class == 0 {
		r.Class = Operator
	}
	out, _, err := s.Add(ctx, r, img, p)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func count(t testing.TB, s *Store, table string) (n int) {
	t.Helper()
	if err := s.db.QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAddingAgainChangesWhatIsSaidAndNothingElse(t *testing.T) {
	s := openStore(t)
	first := add(t, s, Reference{Maker: "Dahua", Entity: "dahua", Model: "IPC-1", Version: "1.0", Class: Published, Source: "download page", Added: time.Unix(1e9, 0)}, "a", 0, 20)
	img, p := profile("a", 0, 20)
	again, isNew, err := s.Add(ctx, Reference{Maker: "Zhejiang Dahua", Entity: "dahua", Model: "ipc-1", Version: "1.0", Board: "b2", Class: Operator, Source: "golden unit"}, img, p)
	if err != nil || isNew || again.ID != first.ID {
		t.Fatalf("%+v %v %v", again, isNew, err)
	}
	list, err := s.List(ctx)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v %v", list, err)
	}
	want := first
	want.Board, want.Class, want.Source = "b2", Operator, "golden unit"
	if !reflect.DeepEqual(list[0], want) {
		t.Errorf("%+v\n%+v", list[0], want)
	}
	other := add(t, s, Reference{Maker: "Acme", Model: "IPC-1", Version: "1.0"}, "a", 0, 20)
	if other.ID == first.ID || count(t, s, "images") != 2 || count(t, s, "parts") != 20 {
		t.Error("the same image sold under another name is not a reference of its own with the same parts")
	}
}

func TestRemovingLeavesNothingBehindAndTakesNothingFromOthers(t *testing.T) {
	s := openStore(t)
	add(t, s, Reference{Maker: "A", Version: "1"}, "a", 0, 20)
	before := fmt.Sprint(count(t, s, "parts"), count(t, s, "postings"), count(t, s, "holds"), count(t, s, "makers"), count(t, s, "regions"))
	for _, other := range []Reference{
		add(t, s, Reference{Maker: "A", Version: "2"}, "b", 10, 30),
		add(t, s, Reference{Maker: "B", Version: "1"}, "c", 5, 25),
	} {
		if err := s.Remove(ctx, other.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(ctx, other.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("removed twice: %v", err)
		}
	}
	if after := fmt.Sprint(count(t, s, "parts"), count(t, s, "postings"), count(t, s, "holds"), count(t, s, "makers"), count(t, s, "regions")); after != before {
		t.Errorf("%s, and before %s", after, before)
	}
}

func TestTheStoreAnswersAsAnIndexInMemoryDoes(t *testing.T) {
	s, m := openStore(t), &lineage.Memory{}
	houses := map[string]int64{}
	for i, r := range []struct {
		maker    string
		from, to int
	}{{"A", 0, 40}, {"A", 20, 60}, {"B", 50, 90}, {"C", 80, 120}, {"D", 80, 100}, {"E", 85, 130}} {
		name := string(rune('a' + i))
		add(t, s, Reference{Maker: r.maker, Version: name}, name, r.from, r.to)
		if houses[r.maker] == 0 {
			houses[r.maker] = int64(len(houses) + 1)
		}
		_, p := profile(name, r.from, r.to)
		m.Add(lineage.Reference{Maker: r.maker, Version: name, House: houses[r.maker]}, p)
	}
	x, err := s.Index(ctx, entities(t))
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	for _, q := range [][2]int{{0, 40}, {10, 70}, {60, 100}, {85, 95}, {200, 220}} {
		_, p := profile("z", q[0], q[1])
		got, err := lineage.Compare(ctx, p, x, lineage.Options{})
		if err != nil {
			t.Fatal(err)
		}
		want, err := lineage.Compare(ctx, p, m, lineage.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range want.Matches { // the store has digests where memory has them too, and its own numbers
			want.Matches[i].Reference.ID = 0
		}
		for i := range got.Matches {
			got.Matches[i].Reference.ID = 0
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%v:\n%+v\n%+v", q, got, want)
		}
	}
}

func TestBrandsOfOneHouseAreRelated(t *testing.T) {
	d := entities(t)
	if a, b := house(d, "hikvision", "Hikvision"), house(d, "", "EZVIZ"); a != b {
		t.Errorf("Hikvision is of %s and EZVIZ of %s", a, b)
	}
	if a, b := house(d, "hikvision", "Hikvision"), house(d, "dahua", "Dahua"); a == b {
		t.Errorf("Hikvision and Dahua are both of %s", a)
	}
	if a, b := house(d, "", "Back Street Cameras"), house(d, "", "BACK STREET CAMERAS"); a != b {
		t.Errorf("%s and %s", a, b)
	}
}

func TestAManifestHasEveryRegionAndFile(t *testing.T) {
	s := openStore(t)
	r := add(t, s, Reference{Maker: "A"}, "a", 0, 3)
	m, err := s.Manifest(ctx, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Regions) != 1 || m.Regions[0].Path != "squashfs@0x0" || m.Regions[0].State != "proven" || len(m.Files) != 1 || m.Files[0].Path != "squashfs@0x0/lib1.so" || m.Files[0].Size != 5 {
		t.Errorf("%+v", m)
	}
	if _, err := s.Manifest(ctx, "none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestReferencesByOtherRulesAreLeftOutUntilAddedAgain(t *testing.T) {
	s := openStore(t)
	r := add(t, s, Reference{Maker: "A"}, "a", 0, 20)
	if _, err := s.db.Exec(`UPDATE images SET rules = 0; UPDATE parts SET rules = 0`); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(ctx); err != nil || !list[0].Stale {
		t.Errorf("%+v %v", list, err)
	}
	x, err := s.Index(ctx, entities(t))
	if err != nil {
		t.Fatal(err)
	}
	if refs, _ := x.References(ctx); len(refs) != 0 || x.Stale != 1 {
		t.Errorf("%+v, %d stale", refs, x.Stale)
	}
	x.Close()
	add(t, s, Reference{Maker: "A"}, "a", 0, 20)
	if list, err := s.List(ctx); err != nil || len(list) != 1 || list[0].Stale || list[0].ID != r.ID {
		t.Errorf("%+v %v", list, err)
	}
	if n := count(t, s, "parts"); n != 20 {
		t.Errorf("%d parts", n)
	}
}

func TestAFeatureThatTooManyPartsHaveIsStillKnownToBeCommon(t *testing.T) {
	s := openStore(t)
	for i, maker := range []string{"A", "B", "C"} {
		img, p := profile(string(rune('a'+i)), 0, 0)
		for n := range lineage.MostPostings + 50 {
			one := part(lineage.Library, uint64(i*10000+n), 0, 16, 8, "x")
			one.Words[0] = 7
			p.Parts = append(p.Parts, one)
		}
		if _, _, err := s.Add(ctx, Reference{Maker: maker, Class: Operator}, img, p); err != nil {
			t.Fatal(err)
		}
	}
	x, err := s.Index(ctx, entities(t))
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	houses := make(map[int64]bool)
	err = x.Find(ctx, []uint64{7}, func(_ uint64, found []lineage.Posting) {
		for _, p := range found {
			houses[p.House] = true
		}
	})
	if err != nil || len(houses) != 3 {
		t.Errorf("%d makers, %v", len(houses), err)
	}
}

func TestWhatIsNoReferenceIsRefused(t *testing.T) {
	s := openStore(t)
	img, p := profile("a", 0, 3)
	for name, r := range map[string]Reference{
		"no maker": {Class: Operator}, "no class": {Maker: "A"}, "vendor-rooted": {Maker: "A", Class: 1}, "a long name": {Maker: strings.Repeat("A", 600), Class: Operator},
	} {
		if _, _, err := s.Add(ctx, r, img, p); err == nil {
			t.Errorf("%s: added", name)
		}
	}
	if _, _, err := s.Add(ctx, Reference{Maker: "A", Class: Operator}, img, &lineage.Profile{Rules: lineage.Rules + 1}); err == nil {
		t.Error("a profile by other rules: added")
	}
	if n := count(t, s, "images") + count(t, s, "makers"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestADamagedStoreIsFoundOut(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, databaseFile), []byte(strings.Repeat("not a database ", 300)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, dir); !errors.Is(err, database.ErrDamaged) {
		t.Error(err)
	}
	s := openStore(t)
	add(t, s, Reference{Maker: "A"}, "a", 0, 3)
	if _, err := s.db.Exec(`UPDATE parts SET data = x'ff'`); err != nil {
		t.Fatal(err)
	}
	x, err := s.Index(ctx, entities(t))
	if err != nil {
		t.Fatal(err)
	}
	_, p := profile("z", 0, 3)
	if _, err := lineage.Compare(ctx, p, x, lineage.Options{}); !errors.Is(err, database.ErrDamaged) {
		t.Error(err)
	}
	x.Close()
	list, err := s.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, list[0].ID); err != nil { // so that it can be added again
		t.Error(err)
	}
	if n := count(t, s, "postings") + count(t, s, "parts"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func FuzzDecode(f *testing.F) {
	p := part(lineage.Library, 1, 1, 16, 32, "x")
	f.Add(encode(&p))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p, again lineage.Part
		if decode(b, &p) != nil {
			return
		}
		if err := decode(encode(&p), &again); err != nil || !reflect.DeepEqual(p, again) {
			t.Fatalf("%+v\n%+v\n%v", p, again, err)
		}
	})
}
