package firmware

import (
	"fmt"
	"io/fs"
)

// State says how far the bytes of a region are accounted for.
type State uint8

// The states, from nothing known to everything checked.
const (
	Opaque  State = iota // nothing recognised: encrypted, compressed by an unknown method, or unknown data
	Erased               // all 0xFF or all 0x00
	Residue              // old data past the declared end of what precedes it
	Parsed               // structure read and consistent, but nothing checks its content
	Proven               // a checksum, hash or full structural walk over the bytes holds
)

var stateNames = [...]string{"opaque", "erased", "residue", "parsed", "proven"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// MarshalText returns the state's name.
func (s State) MarshalText() ([]byte, error) {
	if int(s) >= len(stateNames) {
		return nil, fmt.Errorf("firmware: no state has the number %d", uint8(s))
	}
	return []byte(stateNames[s]), nil
}

// UnmarshalText accepts the names that [State.MarshalText] returns.
func (s *State) UnmarshalText(text []byte) error {
	for i, name := range stateNames {
		if name == string(text) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("firmware: no state is named %q", text)
}

// Role is what a region is for in the boot chain.
type Role string

// The roles.
const (
	RoleBootLoader  Role = "boot-loader"
	RoleEnvironment Role = "environment"
	RoleKernel      Role = "kernel"
	RoleDeviceTree  Role = "device-tree"
	RoleRootFS      Role = "root-filesystem"
	RoleRAMDisk     Role = "ramdisk"
	RoleContainer   Role = "container"
	RoleFirmware    Role = "firmware"
	RoleData        Role = "data"
	RoleNone        Role = ""
)

// Field is one value that a format carries, in the words of its specification.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Check is one checksum, hash or structural rule that was computed. Worth says
// what a passed check is worth, since most of them prove no origin.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Worth  string `json:"worth,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// IntegrityOnly is the Worth of every checksum and unkeyed hash.
const IntegrityOnly = "integrity only, proves no origin"

// Region is an extent of an image and what is known about it.
type Region struct {
	Offset   int64     `json:"offset"` // bytes from the start of the image that the region's list belongs to
	Size     int64     `json:"size"`
	Format   string    `json:"format,omitempty"` // "" for bytes that no format claims
	Name     string    `json:"name,omitempty"`   // what the format calls it: uImage name, FIT image node, file system label
	Role     Role      `json:"role,omitempty"`
	State    State     `json:"state"`
	Fields   []Field   `json:"fields,omitempty"` // in header order
	Checks   []Check   `json:"checks,omitempty"`
	SHA256   string    `json:"sha256,omitempty"`  // lower-case hex over the extent
	Entropy  float64   `json:"entropy,omitempty"` // bits per byte; set for Opaque and Residue
	Strings  []string  `json:"strings,omitempty"` // a few printable strings; set for Opaque and Residue
	Problems []string  `json:"problems,omitempty"`
	Children []*Region `json:"children,omitempty"` // sorted, inside this extent, offsets in the same image
	Contents *Image    `json:"contents,omitempty"` // what the bytes unpack to; nil when nothing was unpacked
	Layout   []Claim   `json:"layout,omitempty"`   // partitions of the flash that this region speaks of; what they are worth is in the image's Claims
	FS       fs.FS     `json:"-"`                  // the files, when the region is a file system or archive
	Files    []*File   `json:"files,omitempty"`    // what reading the files found, in the order of a walk

	gap gapKind // of bytes that no format claims: how they are to be read through
}

// File is an entry of a file system or archive, as Open found it. Its name and
// its target are the image's words and never a path of this machine.
type File struct {
	Path     string      `json:"path"` // in its file system, parts joined with slashes
	Mode     fs.FileMode `json:"mode"`
	Size     int64       `json:"size"`               // bytes, of a regular file
	SHA256   string      `json:"sha256,omitempty"`   // of a regular file's bytes, lower-case hex; empty when they could not be read
	Target   string      `json:"target,omitempty"`   // of a symbolic link
	Link     string      `json:"link,omitempty"`     // the first path of the same file, of a further hard link to it
	Contents *Image      `json:"contents,omitempty"` // the regular file as an image, when it is a container that some format recognises
	Problem  string      `json:"problem,omitempty"`  // why it could not be read, or not whole
}

// End is the offset of the first byte past the region.
func (r *Region) End() int64 { return r.Offset + r.Size }

// Field returns the value of the first field with that name.
func (r *Region) Field(name string) string {
	for _, f := range r.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// AddField appends a field, unless it is empty.
func (r *Region) AddField(name, format string, args ...any) {
	if value := fmt.Sprintf(format, args...); value != "" {
		r.Fields = append(r.Fields, Field{name, value})
	}
}

// AddCheck appends an integrity check.
func (r *Region) AddCheck(name string, ok bool, format string, args ...any) {
	r.Checks = append(r.Checks, Check{Name: name, OK: ok, Worth: IntegrityOnly, Detail: fmt.Sprintf(format, args...)})
}

// AddProblem appends a problem. A hostile image can produce any number of
// them, so only the first maxProblems are kept and the cut is said.
func (r *Region) AddProblem(format string, args ...any) {
	r.Problems = addProblem(r.Problems, format, args...)
}

const maxProblems = 64

func addProblem(list []string, format string, args ...any) []string {
	switch {
	case len(list) < maxProblems:
		return append(list, fmt.Sprintf(format, args...))
	case len(list) == maxProblems:
		return append(list, "more problems are not listed")
	}
	return list
}
