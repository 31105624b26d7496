package lineage

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"assay/firmware"
	"assay/firmware/elf"
)

// Bounds on what one image can put into a profile.
const (
	maxParts    = 20_000
	maxProblems = 64
	maxPath     = 512

	leastFile   = 128     // bytes of a file, below which every image has the same
	leastRegion = 4 << 10 // bytes of a region
	leastBlob   = 16 << 10
	leastWords  = 32 // strings in a blob for a sketch
)

// Collector makes the profile of one image while it is read. Its methods may be
// called from several goroutines.
type Collector struct {
	mu       sync.Mutex
	parts    map[identity]*Part
	small    int
	problems []string
}

// identity is what makes two parts of an image the same.
type identity struct {
	kind Kind
	sum  [32]byte
}

// NewCollector returns a collector for one image.
func NewCollector() *Collector { return &Collector{parts: make(map[identity]*Part)} }

// Visit looks at one file. It is for [firmware.WithVisitor].
func (c *Collector) Visit(v firmware.Visit) {
	if v.File.Contents != nil {
		// What matters of a container is what it holds, however it is packed. The
		// files in it have visits of their own.
		c.regions(v.File.Contents, v.Where, path.Base(v.File.Path))
		return
	}
	if v.File.Size < leastFile || v.File.SHA256 == "" {
		c.mu.Lock()
		c.small++
		c.mu.Unlock()
		return
	}
	digest, ok := digestOf(v.File.SHA256)
	if !ok {
		return
	}
	c.part(Part{Kind: Blob, Path: v.Where, Size: v.File.Size, SHA256: digest}, path.Base(v.File.Path), v.Data)
}

// Profile returns what was collected, with the regions of the image itself. It
// is called once, when Open has returned.
func (c *Collector) Profile(img *firmware.Image) *Profile {
	c.regions(img, "", "")
	p := &Profile{Rules: Rules, SHA256: img.SHA256, Size: img.Size, Small: c.small, Problems: c.problems}
	for _, part := range c.parts {
		p.Parts = append(p.Parts, *part)
	}
	slices.SortFunc(p.Parts, func(a, b Part) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind), bytes.Compare(a.SHA256[:], b.SHA256[:]))
	})
	return p
}

func digestOf(s string) (sum [32]byte, ok bool) {
	b, err := hex.DecodeString(s)
	return sum, err == nil && copy(sum[:], b) == len(sum)
}

func (c *Collector) problem(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

// regions adds the regions of an image that nothing was found in: those with
// files or contents are known by these.
func (c *Collector) regions(img *firmware.Image, where, name string) {
	_ = img.Walk(func(around []*firmware.Region, holder *firmware.Image, r *firmware.Region) error {
		at := where
		for _, a := range around {
			at = path.Join(at, a.Label())
		}
		at = path.Join(at, r.Label())
		if banner := r.Field("banner"); strings.HasPrefix(banner, "Linux version ") {
			c.banner(banner, at)
			c.boot(r, at)
			return nil
		}
		if r.Contents != nil || r.FS != nil || len(r.Children) > 0 || r.State == firmware.Erased || r.State == firmware.Residue {
			return nil
		}
		if slices.ContainsFunc(around, func(a *firmware.Region) bool { return a.Field("banner") != "" }) {
			return nil // a piece of a kernel
		}
		switch r.Role {
		case firmware.RoleBootLoader, firmware.RoleDeviceTree, firmware.RoleKernel:
			c.boot(r, at)
			return nil
		case firmware.RoleEnvironment:
			return nil // a unit's own settings
		}
		least := int64(leastRegion)
		if name != "" && len(around) > 0 {
			least = leastFile // a packed file
		}
		digest, ok := digestOf(r.SHA256)
		if !ok || r.Size < least {
			return nil
		}
		base := name
		if name == "" {
			base = r.Name
		}
		c.part(Part{Kind: Blob, Path: at, Size: r.Size, SHA256: digest}, base, holder.Section(r))
		return nil
	})
}

// boot adds what stands outside file systems and is open source for the most
// part: only the same bytes are the same build.
func (c *Collector) boot(r *firmware.Region, where string) {
	if digest, ok := digestOf(r.SHA256); ok && r.Size >= leastFile {
		c.add(Part{Kind: Boot, Path: where, Size: r.Size, SHA256: digest})
	}
}

// part looks into a file or region and adds it.
func (c *Collector) part(p Part, name string, r *io.SectionReader) {
	if p.Size <= maxRead {
		if err := p.look(r, name); err != nil {
			c.problem("%s: %v", clip(p.Path), err)
		}
	}
	c.add(p)
}

// look finds out what the bytes are and what they show.
func (p *Part) look(r *io.SectionReader, name string) error {
	head := make([]byte, min(p.Size, 4<<10))
	if _, err := r.ReadAt(head, 0); err != nil && err != io.EOF {
		return err
	}
	if bytes.HasPrefix(head, []byte("\x7fELF")) {
		f, err := elf.Read(r, p.Size)
		if err == nil {
			p.Known = p.code(f, r, p.Size).project(name)
			return nil
		}
		if !errors.Is(err, elf.ErrNotELF) {
			return err
		}
	}
	if isText(head) && p.Size <= maxText {
		b := make([]byte, p.Size)
		if _, err := r.ReadAt(b, 0); err != nil && err != io.EOF {
			return err
		}
		if !bytes.ContainsRune(b, 0) {
			p.text(b)
			p.Known = projectOfText(name, b)
			return nil
		}
	}
	if p.Size >= leastBlob && !isMedia(head) {
		p.blob(r)
	}
	return nil
}

// blob samples the strings of other data, when there are many.
func (p *Part) blob(r *io.SectionReader) {
	words, n := bottom{k: wordsKept}, 0
	scanWords(io.NewSectionReader(r, 0, p.Size), func(w []byte) {
		// Chance makes short ones: one in 500 bytes of noise begins a run of six.
		if len(w) >= 10 {
			n++
			words.add(element(word, w))
		}
	})
	if n >= leastWords {
		p.Words = words.kept
	}
}

// media begin with these; the strings in them are of the tools that made them.
var media = []string{"\x89PNG", "GIF8", "\xff\xd8\xff", "RIFF", "OggS", "ID3", "\x00\x01\x00\x00\x00", "OTTO", "wOFF", "wOF2", "PK\x03\x04", "\x1f\x8b", "%PDF"}

func isMedia(head []byte) bool {
	return slices.ContainsFunc(media, func(m string) bool { return bytes.HasPrefix(head, []byte(m)) })
}

// add keeps a part, once for its bytes.
func (c *Collector) add(p Part) {
	p.Path = clip(p.Path)
	p.Traits = append([]Sum{sum(Content, p.SHA256[:])}, p.Traits...)
	if p.Kind == Banner {
		p.Traits = p.Traits[1:]
	}
	slices.SortFunc(p.Traits, func(a, b Sum) int { return cmp.Compare(a.Trait, b.Trait) })
	c.mu.Lock()
	defer c.mu.Unlock()
	id := identity{p.Kind, p.SHA256}
	if have := c.parts[id]; have != nil {
		have.Copies++
		if p.Path < have.Path { // whichever worker came first
			have.Path = p.Path
		}
		return
	}
	if len(c.parts) < maxParts {
		c.parts[id] = &p
	} else if len(c.problems) == 0 || !strings.HasPrefix(c.problems[len(c.problems)-1], "more than") {
		c.problems = append(c.problems, fmt.Sprintf("more than %d different parts; the rest is not compared", maxParts))
	}
}

func clip(s string) string {
	if len(s) > maxPath {
		s = strings.ToValidUTF8(s[:maxPath], "") + "…"
	}
	return s
}

// linuxBanner is from Linux init/version-timestamp.c; the number and date of the
// build behind it are left out.
var linuxBanner = regexp.MustCompile(`^Linux version (\S{1,128}) \(([^()\s]{1,128})\) \((.{1,512}?)\) #\d`)

// anybody are builders' names that machines come with.
var anybody = regexp.MustCompile(`(?i)^(root|build|builder|buildroot|user|ubuntu|debian|admin|jenkins|gitlab-runner|\(none\))?@(localhost|localhost\.localdomain|ubuntu\w*|debian\w*|buildroot|buildhost|build|builder|docker\w*|vm|pc|[0-9a-f]{12}|\(none\))?$`)

// banner adds what a kernel says of its build. A builder whom every machine has
// out of the box tells nothing.
func (c *Collector) banner(s, where string) {
	m := linuxBanner.FindStringSubmatch(s)
	if m == nil || anybody.MatchString(m[2]) {
		return
	}
	from := []byte(strings.Join(m[1:], "\x00"))
	c.add(Part{Kind: Banner, Path: where, SHA256: sha256.Sum256(from), Traits: []Sum{sum(KernelFrom, from), sum(Builder, []byte(m[2]))}})
}
