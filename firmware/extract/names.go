package extract

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Bounds on names and paths on disk. Common file systems take names of 255
// bytes; programs that people open the files with take paths of 4096.
const (
	maxName = 180
	maxPath = 1000
)

// onDisk makes a name that every common file system keeps as it is, out of one
// from an image: without what Windows forbids (Microsoft, "Naming Files, Paths,
// and Namespaces"), without what does not print, and unlike the names that this
// package gives itself. It is the name itself wherever that is possible.
func onDisk(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		last := i+n == len(name)
		if r == utf8.RuneError || !unicode.IsPrint(r) || strings.ContainsRune(`<>:"/\|?*`, r) || last && (r == '.' || r == ' ') {
			for _, c := range []byte(name[i : i+n]) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		} else {
			b.WriteString(name[i : i+n])
		}
		i += n
	}
	out := b.String()
	if isDevice(out) {
		out = "_" + out
	}
	if len(out) > maxName || isOurs(out) {
		out = marked(out, name)
	}
	return out
}

// isDevice tells whether Windows takes a name for a device, whatever its
// extension.
func isDevice(name string) bool {
	base, _, _ := strings.Cut(strings.ToUpper(name), ".")
	base = strings.TrimRight(base, " ")
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	if rest, ok := strings.CutPrefix(base, "COM"); ok || strings.HasPrefix(base, "LPT") {
		if !ok {
			rest = base[3:]
		}
		return utf8.RuneCountInString(rest) == 1 && strings.ContainsAny(rest, "0123456789¹²³")
	}
	return false
}

// isOurs tells whether a name looks like one that this package makes up: of a
// region, of what is in a file or was unpacked, of what is too deep.
func isOurs(name string) bool {
	name = strings.ToLower(name)
	return strings.HasSuffix(name, contents) || strings.Contains(name, "@0x") || strings.HasPrefix(name, unpacked) || name == deep
}

// marked gives a name a part that depends on the original one, before its
// extension, and cuts it to maxName.
func marked(name, original string) string {
	sum := sha256.Sum256([]byte(original))
	mark := "~" + hex.EncodeToString(sum[:4])
	ext := path.Ext(name)
	if len(ext) > 16 || len(ext) == len(name) {
		ext = ""
	}
	stem := strings.TrimSuffix(name, ext)
	if strings.HasSuffix(strings.ToLower(name), contents) {
		stem, ext = name, ""
	}
	for most := maxName - len(mark) - len(ext); len(stem) > most; {
		_, n := utf8.DecodeLastRuneInString(stem)
		stem = stem[:len(stem)-n]
	}
	return strings.TrimRight(stem, ". ") + mark + ext
}

// folded is the same for names that some disk takes for one: whatever their
// case, composed or not.
func folded(name string) string {
	ascii := true
	for i := range len(name) {
		ascii = ascii && name[i] < utf8.RuneSelf
	}
	if ascii {
		return strings.ToLower(name)
	}
	return norm.NFKC.String(cases.Fold().String(norm.NFD.String(strings.ToUpper(name))))
}

// names gives out the names of one tree on disk, each once.
type names struct{ used map[uint64]struct{} }

// take returns the path of a file in a directory on disk. The first of several
// names that a disk takes for one has it; which that is depends on the order of
// the walk only, so that all machines come to the same.
func (n *names) take(dir, original string) string {
	name := onDisk(original)
	for i := 1; ; i++ {
		h := fnv.New64a()
		h.Write([]byte(folded(path.Join(dir, name))))
		if _, taken := n.used[h.Sum64()]; !taken {
			n.used[h.Sum64()] = struct{}{}
			return path.Join(dir, name)
		}
		name = marked(onDisk(original), fmt.Sprintf("%d %s", i, original))
	}
}
