// Package inventory says what is in an analysed image: software, ELF files and
// how they were hardened, kernel modules, packages, certificates and keys,
// accounts, what its scripts start that listens, and makers' marks.
//
// It rides on the one pass that firmware.Open makes over the files, so that
// nothing is unpacked twice:
//
//	c := inventory.New(ctx)
//	img, err := firmware.Open(ctx, r, size, firmware.WithVisitor(c.Visit))
//	report, err := c.Report(img)
//
// A version is what the bytes say, not a proof of what runs. Marks come from
// marks.yaml, each with its source, its strength and examples; a mark is
// evidence to be weighed and not a verdict. No signature of a certificate is
// verified. Private keys and password hashes are named and never kept.
package inventory

import (
	"time"

	"assay/firmware/elf"
)

// Report is what was found, in the order of the image. Paths are as in [Mark].
type Report struct {
	Components   []Component   `json:"components"`
	Marks        []Mark        `json:"marks"`
	Modules      []Module      `json:"modules,omitempty"`
	Packages     []Package     `json:"packages,omitempty"`
	Files        []ELF         `json:"files,omitempty"`
	Certificates []Certificate `json:"certificates,omitempty"`
	Keys         []Key         `json:"keys,omitempty"`
	Passwords    []Password    `json:"passwords,omitempty"`
	Services     []Service     `json:"services,omitempty"`
	Problems     []string      `json:"problems,omitempty"` // what was not read
}

// Evidence is the kind of evidence that a component is known by.
type Evidence string

// The kinds.
const (
	ByText     Evidence = "text"     // a version text that its build compiles in
	ByBanner   Evidence = "banner"   // the line that it greets with
	BySymbols  Evidence = "symbols"  // a library that exports the interface; nothing tells the version
	ByVermagic Evidence = "vermagic" // kernel modules built for it
)

// Component is a piece of software. Copies in one file system are listed once.
type Component struct {
	Name     string   `json:"name"`
	Version  string   `json:"version,omitempty"` // "" where nothing tells it
	Evidence Evidence `json:"evidence"`
	Path     string   `json:"path"`
	Offset   int64    `json:"offset"`            // of the evidence, in what Path names
	Match    string   `json:"match"`             // the evidence
	Applets  []string `json:"applets,omitempty"` // the links that lead to BusyBox, as paths in its file system
}

// Mark is a maker's mark. Path names regions as format@offset (opaque bytes as
// opaque@offset) and files by their names, joined with slashes; offsets of
// regions count in the image that holds them.
type Mark struct {
	Rule     string `json:"rule"`
	Entity   string `json:"entity"`
	Subject  string `json:"subject"`
	Strength string `json:"strength"` // c1 hint, c2 solid
	Says     string `json:"says"`
	Path     string `json:"path"`
	Offset   int64  `json:"offset"` // in what Path names
	Match    string `json:"match"`
}

// Module is a kernel module, as its .modinfo describes it.
type Module struct {
	Name     string `json:"name"`
	Version  string `json:"version,omitempty"`
	Vermagic string `json:"vermagic,omitempty"`
	License  string `json:"license,omitempty"`
	Depends  string `json:"depends,omitempty"`
	Path     string `json:"path"`
}

// Package is an entry of a package manager's database.
type Package struct {
	Manager      string `json:"manager"` // dpkg, opkg or apk
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture,omitempty"`
	License      string `json:"license,omitempty"`
	Path         string `json:"path"`
	Offset       int64  `json:"offset"`
}

// ELF is a program, library or object. One with the magic and no sane header is
// of type "broken".
type ELF struct {
	Path        string        `json:"path"`
	Arch        string        `json:"arch,omitempty"`
	Type        string        `json:"type"`
	Interpreter string        `json:"interpreter,omitempty"`
	BuildID     string        `json:"build_id,omitempty"`
	Soname      string        `json:"soname,omitempty"`
	Needed      []string      `json:"needed,omitempty"`
	Rpath       string        `json:"rpath,omitempty"` // DT_RUNPATH, or DT_RPATH
	Compiler    string        `json:"compiler,omitempty"`
	Hardening   elf.Hardening `json:"hardening"`
	Problems    []string      `json:"problems,omitempty"`
}

// Certificate is an X.509 certificate. Where Problem says that it is broken, the
// fields it could not be read for are empty.
type Certificate struct {
	Subject   string    `json:"subject,omitempty"`
	Issuer    string    `json:"issuer,omitempty"`
	Serial    string    `json:"serial,omitempty"` // hex
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	SHA256    string    `json:"sha256,omitempty"` // of the DER bytes
	Algorithm string    `json:"algorithm,omitempty"`
	Signature string    `json:"signature,omitempty"` // its algorithm; not verified here
	SPKI      string    `json:"spki,omitempty"`      // SHA-256 of the SubjectPublicKeyInfo
	CA        bool      `json:"ca,omitempty"`
	Path      string    `json:"path"`
	Offset    int64     `json:"offset"`
	Problem   string    `json:"problem,omitempty"`
}

// Key is a public or private key outside a certificate. Of a private key only
// what its public half says is kept.
type Key struct {
	Private   bool   `json:"private"`
	Algorithm string `json:"algorithm,omitempty"` // "RSA 2048", "ECDSA P-256"
	Format    string `json:"format"`
	Encrypted bool   `json:"encrypted,omitempty"`
	SPKI      string `json:"spki,omitempty"` // SHA-256 of the SubjectPublicKeyInfo
	Path      string `json:"path"`
	Offset    int64  `json:"offset"`
	Problem   string `json:"problem,omitempty"`
}

// Password says that an account has a password and how it is kept. The hash is
// not kept. Accounts that no password opens are left out.
type Password struct {
	Account string `json:"account"`
	Scheme  string `json:"scheme"` // as crypt(5) names them; "empty" lets anyone in; "none" behind a lock
	Locked  bool   `json:"locked,omitempty"`
	Path    string `json:"path"`
	Offset  int64  `json:"offset"`
}

// Service is a line of a start script or configuration that starts a program
// that listens.
type Service struct {
	Name    string `json:"name"`    // the program
	Kind    string `json:"kind"`    // what it offers: telnet, ssh, http, rtsp, ...
	Program string `json:"program"` // as the line calls it
	Port    string `json:"port,omitempty"`
	Path    string `json:"path"`
	Line    int    `json:"line"`
}

// Bounds on what one image can put into a report.
const (
	maxPerRule      = 32
	maxComponents   = 256
	maxProblems     = 64
	maxModules      = 4096
	maxPackages     = 8192
	maxFiles        = 16384
	maxCertificates = 1024
	maxKeys         = 1024
	maxPasswords    = 1024
	maxServices     = 1024
	maxApplets      = 1024
)
