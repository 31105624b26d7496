// Package lineage says how much code two firmware images share, whatever their
// files are called, whose name they show, and how they are packed.
//
// A [Collector] watches the single pass of [firmware.Open] and makes a [Profile]:
// the image's parts (programs, libraries, kernel modules, texts, kernels, blobs),
// each with exact traits (digests of the file, its code, its constants, its build
// identifier, its sets of symbols) and with sketches of its symbols and words,
// which survive a rebuild or a change of brand. [Compare] holds a profile against
// an index of reference images and explains what it found.
//
//	c := lineage.NewCollector()
//	img, err := firmware.Open(ctx, r, size, firmware.WithVisitor(c.Visit))
//	report, err := lineage.Compare(ctx, c.Profile(img), index, lineage.Options{})
//
// Everybody ships BusyBox. What several unrelated makers of the index have counts
// little or nothing, and so do the projects of a shipped list (common.yaml), which
// is all there is to go by while the index is small; the report then says that its
// weighting is weak.
//
// Shared code is a hint (c1) and no proof: makers buy the same software, and the
// same chip comes with the same kit. Nothing here is authenticated: whoever builds
// an image can put another maker's files into it, or hide his own by packing them
// in a way that is not read.
//
// Sketches are bottom-k samples (Cohen, Kaplan, Summarizing data using bottom-k
// sketches, PODC 2007); the resemblance of two sets is estimated as in Broder, On
// the resemblance and containment of documents, 1997. Renaming in texts is seen
// through with the parameterized matching of Baker, A theory of parameterized
// pattern matching, STOC 1993. Rarity is the inverse document frequency of Spärck
// Jones, 1972, with makers as the documents.
package lineage

// Rules numbers the way in which profiles are made. Profiles made by other rules
// cannot be compared.
const Rules = 1

// Kind is what a part of an image is.
type Kind string

// The kinds.
const (
	Program Kind = "program"
	Library Kind = "library"
	Module  Kind = "kernel-module"
	Text    Kind = "text"   // scripts, pages, style sheets, configuration
	Blob    Kind = "data"   // everything else, exact or by the strings in it
	Boot    Kind = "boot"   // kernels, boot loaders, device trees: exact only
	Banner  Kind = "banner" // what a kernel says of its build; it has no bytes of its own
)

// Trait is one way in which two parts can be the same.
type Trait uint8

// The traits, strongest first.
const (
	Content    Trait = iota + 1 // SHA-256 of the whole
	Code                        // SHA-256 of .text
	BuildID                     // the linker's identifier of a build
	Skeleton                    // a text with its words replaced by the order of their first use
	Constants                   // SHA-256 of .rodata
	ModuleAPI                   // a kernel module's name, vermagic and sets of symbols
	Exports                     // the set of exported symbols
	Imports                     // the set of imported symbols
	KernelFrom                  // a kernel's release, builder and compiler
	Builder                     // who built a kernel, and where
	symbol                      // an element of the sketch of symbols
	word                        // an element of the sketch of words
)

var traitWords = map[Trait]string{
	Content: "same file", Code: "same code (.text)", BuildID: "same build-id", Skeleton: "same text but for renamed words",
	Constants: "same constants (.rodata)", ModuleAPI: "same module, kernel and symbols", Exports: "same exported symbols",
	Imports: "same imported symbols", KernelFrom: "same kernel release, builder and compiler", Builder: "same kernel builder",
	symbol: "similar symbols", word: "similar strings",
}

// String says what it means that two parts share the trait.
func (t Trait) String() string { return traitWords[t] }

// Sum is the value of a trait: 64 bits of a digest over the trait and its value.
type Sum struct {
	Trait Trait
	Value uint64
}

// Part is one file, region or banner of an image.
type Part struct {
	Kind   Kind
	Path   string // regions and files from the outside in, see firmware.Visit
	Size   int64
	SHA256 [32]byte
	Known  string // the project of common.yaml that it belongs to, if any
	Traits []Sum  // by trait

	// Samples of the sets of symbols and words: the smallest hashes, sorted. A
	// sample shorter than its bound is the whole set.
	Symbols, Words []uint64

	Copies int // further files with the same bytes
}

// Profile is what lineage knows of an image. It can be compared with others and
// kept; it holds no byte of the image but names of files.
type Profile struct {
	Rules    int
	SHA256   string // of the image, lower-case hex
	Size     int64
	Parts    []Part // no two have the same kind and bytes
	Small    int    // files too small to tell anything, which are left out
	Problems []string
}

// Features are the numbers under which an index finds the part.
func (p *Part) Features() []uint64 {
	all := make([]uint64, 0, len(p.Traits)+len(p.Symbols)+len(p.Words))
	for _, t := range p.Traits {
		all = append(all, t.Value)
	}
	all = append(all, p.Symbols...)
	return append(all, p.Words...)
}

func (p *Part) trait(t Trait) (uint64, bool) {
	for _, s := range p.Traits {
		if s.Trait == t {
			return s.Value, true
		}
	}
	return 0, false
}
