package update

import "assay/firmware"

// openSSLSalted is what "openssl enc" writes: a word, eight bytes of salt, and
// ciphertext without any length or sum. It goes to the end of what holds it,
// or to where the bytes stop looking like ciphertext; the program openssl, which
// contains the word, has none behind it.
var openSSLSalted = firmware.Format{
	Name:         "openssl-salted",
	Source:       "OpenSSL apps/enc.c; openssl-enc(1)",
	About:        "output of openssl enc: encrypted under a password",
	Integrity:    "none",
	Authenticity: "none",
	Magics:       []firmware.Magic{{Bytes: saltedMagic}},
	Parse:        parseSalted,
}

const (
	saltedMagic  = "Salted__"
	saltedHeader = 16
	saltedStep   = 1024
	saltedRun    = 16 // bytes of one value that end it
)

func parseSalted(w *firmware.Window) (*firmware.Region, error) {
	head, err := w.Bytes(0, saltedHeader)
	if err != nil {
		return nil, notFormat("openssl-salted: %v", err)
	}
	size, err := cipherEnd(w, saltedHeader)
	if err != nil {
		return nil, err
	}
	if size == saltedHeader || size-saltedHeader < saltedStep && (size != w.Size() || size%16 != 0) {
		return nil, notFormat("openssl-salted: no ciphertext follows")
	}
	r := &firmware.Region{Size: size, Role: firmware.RoleContainer}
	r.AddField("salt", "%x", head[8:])
	r.AddField("content", "encrypted, key not known; neither cipher nor hash is said")
	r.Children = []*firmware.Region{opaque(w, saltedHeader, size-saltedHeader, "ciphertext", "encrypted, key not known")}
	return r, nil
}

// cipherEnd is how far bytes from off on look like ciphertext.
func cipherEnd(w *firmware.Window, off int64) (int64, error) {
	for off < w.Size() {
		n := min(saltedStep, w.Size()-off)
		p, err := w.Bytes(off, n)
		if err != nil {
			return 0, err
		}
		if run := sameRun(p); run >= 0 {
			return off + run, nil
		}
		if !likeCipher(p) {
			return off, nil
		}
		off += n
	}
	return off, nil
}

// likeCipher counts distinct bytes: of 1024 random ones 251 are expected, and
// fewer than 225 come up in no block that was ever encrypted.
func likeCipher(p []byte) bool {
	if len(p) < 16 {
		return true
	}
	var seen [256]bool
	distinct := 0
	for _, c := range p {
		if !seen[c] {
			seen[c] = true
			distinct++
		}
	}
	return distinct >= min(225, len(p)*225/1024+len(p)/16) || len(p) < 256 && distinct > len(p)/2
}

// sameRun is where a run of one value begins in a block; -1 when there is none.
func sameRun(p []byte) int64 {
	n := 0
	for i := range p {
		if n++; i == 0 || p[i] != p[i-1] {
			n = 1
		}
		if n == saltedRun {
			return int64(i + 1 - saltedRun)
		}
	}
	return -1
}
